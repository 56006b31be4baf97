"""Max-over-interests scores and their softmax loss, the catalogue in blocks (eq. 16-17, 23).

score(u, v) = max over the user's active interests i of <u_i, x_v>. Neither [users, capsules, items]
nor [users, items] ever exists whole: one block of scores at a time does, of a size that does not
depend on the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from miracle_core.errors import MiracleError
from miracle_core.model.capsules import Interests
from miracle_core.model.precision import add_product, product_type
from miracle_core.model.repeats import Repeats

Groups = tuple[tuple[int, int], ...]

# Scores made by one matrix product: 8 MiB of float32.
BLOCK_ELEMENTS = 1 << 21
# Of these, looked at together: 4 MiB, which two cores' own caches hold through all passes.
PIECE_ELEMENTS = 1 << 20
# With fewer interests than this in a chunk of users a matrix product reads more than it computes.
MIN_CHUNK_ROWS = 256
MAX_CHUNK_ROWS = 4096


def max_over_interests(scores: Tensor, groups: Groups, out: Tensor | None = None) -> Tensor:
    """The best of each user's interests (eq. 17).

    Args:
        scores: [interests, items], interests in the order of :class:`Interests`.
        groups: (interests a user, users) of each run.
        out: [users, items] to write to; None makes a new tensor.

    Returns:
        [users, items], in the order of ``Interests.users``.
    """
    best = scores.new_empty(sum(n for _, n in groups), scores.shape[1]) if out is None else out
    row = user = 0
    for k, n in groups:
        part = scores[row : row + k * n].view(n, k, -1)
        if k == 1:
            best[user : user + n] = part[:, 0]
        else:
            torch.amax(part, 1, out=best[user : user + n])
        row, user = row + k * n, user + n
    return best


def chunks_of_users(groups: Groups, max_rows: int) -> Iterator[tuple[slice, slice, Groups]]:
    """Cut a batch into chunks of whole users with at most about ``max_rows`` interests each.

    Yields:
        The chunk's rows of interests, its users, and its own groups.
    """
    row = user = 0
    chunk: list[tuple[int, int]] = []
    rows = users = 0
    for k, n in groups:
        while n:
            take = max(min(n, (max_rows - rows) // k), 0)
            if take == 0 and rows == 0:
                take = 1  # one user with more interests than fit is a chunk of its own
            if take:
                chunk.append((k, take))
                rows, users, n = rows + k * take, users + take, n - take
            if n:
                yield slice(row, row + rows), slice(user, user + users), tuple(chunk)
                row, user, rows, users, chunk = row + rows, user + users, 0, 0, []
    if chunk:
        yield slice(row, row + rows), slice(user, user + users), tuple(chunk)


def max_interest_cross_entropy(
    interests: Interests,
    items: Tensor,
    targets: Tensor,
    *,
    scale: float = 1.0,
    item_bias: Tensor | None = None,
    target_bias: Tensor | None = None,
    repeats: Repeats | None = None,
    triton: bool = False,
) -> Tensor:
    """Mean over users of -log softmax of the target's max-over-interests score (eq. 16, 23).

    The gradients for interests and items are exact and made while the blocks of scores are at hand,
    so nothing of size users x items outlives its block.

    Args:
        interests: the users' active interests.
        items: [items, d], the candidates.
        targets: int64 [users], the row of ``items`` each user took next, users in the order of
            ``interests.users``.
        scale: what scores are multiplied with (1 / temperature).
        item_bias: [items], added to each candidate's scaled score: the logarithm of how often it
            counts, or a correction for sampling. It gets no gradient.
        target_bias: [users], replaces ``item_bias`` where a candidate is the user's own target.
        repeats: the candidates that users have had, whose scores gain by it; the gain gets an
            exact gradient.
        triton: use the Triton kernels of :mod:`miracle_core.model.kernels`, which have been run
            in Triton's interpreter only and never on a GPU.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: ``target_bias`` without ``item_bias``.
        MiracleError: Triton's kernels are asked for, and it is not installed.
    """
    if target_bias is not None and item_bias is None:
        raise ValueError("target_bias replaces item_bias: give both")
    given = (interests.vectors, items, targets, interests.groups, scale, item_bias, target_bias)
    if triton:
        return _triton()(*given, repeats)
    gain = None if repeats is None else repeats.gain
    loss: Tensor = _MaxInterestCrossEntropy.apply(  # type: ignore[no-untyped-call]
        *given, repeats, gain
    )
    return loss


def _triton() -> Callable[..., Tensor]:
    try:
        from miracle_core.model.kernels import cross_entropy
    except ImportError as error:
        raise MiracleError(
            "Triton is not installed", remedy="install triton, or leave its kernels out"
        ) from error
    return cross_entropy


class _MaxInterestCrossEntropy(torch.autograd.Function):
    """The loss and its gradients in one walk; the backward pass only scales them.

    Under autocast scores are products in its type; what is summed, exponentials among it, is not.
    """

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        items: Tensor,
        targets: Tensor,
        groups: Groups,
        scale: float,
        item_bias: Tensor | None,
        target_bias: Tensor | None,
        repeats: Repeats | None,
        gain: Tensor | None,
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        d_vectors = torch.zeros_like(vectors) if wanted else None
        d_items = torch.zeros_like(items) if wanted else None
        total, d_gain = vectors.new_zeros(()), vectors.new_zeros(())
        # One buffer for every block's scores: fresh memory costs more than filling it.
        low = product_type(vectors)
        buffer = vectors.new_empty(BLOCK_ELEMENTS, dtype=low)
        low_vectors, low_items = vectors.to(low), items.to(low)
        for rows, users, part in chunks_of_users(groups, chunk_rows(items.shape[0])):
            chunk = _Chunk(
                low_vectors[rows],
                low_items,
                targets[users],
                part,
                scale,
                item_bias,
                None if target_bias is None else target_bias[users],
                None if repeats is None else repeats.among(users),
                buffer,
                total.dtype,
            )
            total += chunk.loss(None if d_vectors is None else d_vectors[rows], d_items)
            if gain is not None:
                d_gain += chunk.d_gain()
        ctx.scale = scale / targets.numel()
        if d_vectors is not None and d_items is not None:
            ctx.save_for_backward(d_vectors, d_items, None if gain is None else d_gain)
        return total / targets.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        d_vectors, d_items, d_gain = ctx.saved_tensors
        d_scores = d_loss * ctx.scale
        d_gain = None if d_gain is None else d_gain * d_scores
        return d_vectors * d_scores, d_items * d_scores, *(None,) * 6, d_gain


def chunk_rows(n_items: int) -> int:
    """Interests in a chunk: as many as let the whole catalogue be one block, else the most."""
    rows = BLOCK_ELEMENTS // max(n_items, 1)
    return rows if rows >= MIN_CHUNK_ROWS else MAX_CHUNK_ROWS


class _Chunk:
    """Some users' walk over the catalogue: running log-sum-exp, then gradients.

    A block's scores are made by one product and looked at in pieces, a few users at a time, that
    stay in a core's own cache through all passes. A catalogue of one block needs one look at each
    piece; a larger one computes each block's scores again for the gradients.
    """

    def __init__(
        self,
        vectors: Tensor,
        items: Tensor,
        targets: Tensor,
        groups: Groups,
        scale: float,
        item_bias: Tensor | None,
        target_bias: Tensor | None,
        repeats: Repeats | None,
        buffer: Tensor,
        exact: torch.dtype,
    ) -> None:
        self.vectors, self.items, self.buffer = vectors, items, buffer
        width = min(max(BLOCK_ELEMENTS // vectors.shape[0], 1), items.shape[0])
        self.blocks = [
            slice(start, min(start + width, items.shape[0]))
            for start in range(0, items.shape[0], width)
        ]
        self.pieces = [
            _Piece(
                rows,
                targets[users].unsqueeze(1),
                part,
                scale,
                item_bias,
                None if target_bias is None else target_bias[users].unsqueeze(1),
                None if repeats is None else repeats.among(users),
                exact,
            )
            for rows, users, part in chunks_of_users(groups, max(PIECE_ELEMENTS // width, 1))
        ]

    def loss(self, d_vectors: Tensor | None, d_items: Tensor | None) -> Tensor:
        """Sum of the users' losses; adds d(sum)/d(scores / scale) to both gradients where given."""
        once = len(self.blocks) == 1
        wanted = d_vectors is not None
        for block in self.blocks:
            scores = self._scores(block)
            for piece in self.pieces:
                piece.look(scores, block, gradient=once and wanted)
        if d_vectors is not None and d_items is not None:
            for block in self.blocks:
                if not once:
                    scores = self._scores(block)
                    for piece in self.pieces:
                        piece.look_again(scores, block)
                add_product(d_vectors, scores, self.items[block])
                add_product(d_items[block], scores.T, self.vectors)
        return torch.stack([piece.loss() for piece in self.pieces]).sum()

    def d_gain(self) -> Tensor:
        """d(sum of the losses)/d(gain of repeats / scale), once the gradients are there."""
        return torch.stack([piece.d_gain for piece in self.pieces]).sum()

    def _scores(self, block: slice) -> Tensor:
        """Raw scores [interests, block]."""
        shape = (self.vectors.shape[0], block.stop - block.start)
        n = shape[0] * shape[1]
        # A single user with more interests than a block holds is the one case beyond the buffer.
        room = self.buffer if n <= self.buffer.numel() else self.vectors.new_empty(n)
        return torch.mm(self.vectors, self.items[block].T, out=room[:n].view(shape))


class _Piece:
    """A chunk's users some at a time: what their scores so far say of their losses."""

    def __init__(
        self,
        rows: slice,
        targets: Tensor,
        groups: Groups,
        scale: float,
        item_bias: Tensor | None,
        target_bias: Tensor | None,
        repeats: Repeats | None,
        exact: torch.dtype,
    ) -> None:
        self.rows, self.targets, self.groups, self.scale = rows, targets, groups, scale
        self.item_bias, self.target_bias, self.repeats = item_bias, target_bias, repeats
        # The least finite number, not -inf: a whole block may be biased to -inf.
        least = torch.finfo(exact).min
        self.high = torch.full_like(targets, least, dtype=exact)
        self.total = torch.zeros_like(self.high)
        self.own = torch.zeros_like(self.high)
        self.d_gain = self.high.new_zeros(())

    def look(self, scores: Tensor, block: slice, gradient: bool) -> None:
        """Take a block's scores into the log-sum-exp.

        Args:
            scores: the chunk's, [interests, block].
            block: the items.
            gradient: this block is the whole catalogue: leave the scores' gradients in their place.
        """
        part = scores[self.rows]
        best, logits, column, inside = self._logits(part, block)
        self.own = torch.where(inside, logits.gather(1, column), self.own)
        high = torch.maximum(self.high, logits.amax(1, keepdim=True))
        powers = logits.sub_(high).exp_()
        self.total = self.total * (self.high - high).exp() + powers.sum(1, keepdim=True)
        self.high = high
        if gradient:
            weights = powers.div_(self.total).scatter_add_(1, column, -inside.to(powers.dtype))
            self._spread(part, best, weights, block)

    def look_again(self, scores: Tensor, block: slice) -> None:
        """Leave the gradients of a block's scores in their place, all blocks having been seen."""
        part = scores[self.rows]
        best, logits, column, inside = self._logits(part, block)
        weights = logits.sub_(self.high + self.total.log()).exp_()
        weights.scatter_add_(1, column, -inside.to(weights.dtype))
        self._spread(part, best, weights, block)

    def _spread(self, part: Tensor, best: Tensor, weights: Tensor, block: slice) -> None:
        if self.repeats is not None:
            self.d_gain += weights[self.repeats.within(block)].sum()
        _to_winners(part, best, weights, self.groups)

    def loss(self) -> Tensor:
        """Sum over the users of log-sum-exp minus the target's logit."""
        return (self.high + self.total.log() - self.own).sum()

    def _logits(self, part: Tensor, block: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Best scores [users, block], logits in a new tensor, and targets [users, 1].

        Targets are columns of the block, and whether each lies in it at all.
        """
        best = max_over_interests(part, self.groups)
        logits = best.to(self.own.dtype) * self.scale
        if self.item_bias is not None:
            logits += self.item_bias[block]
        column = self.targets - block.start
        inside = (column >= 0) & (column < logits.shape[1])
        column = column.clamp_(0, logits.shape[1] - 1)
        if self.target_bias is not None:
            own = best.gather(1, column).to(self.own.dtype) * self.scale + self.target_bias
            logits.scatter_(1, column, torch.where(inside, own, logits.gather(1, column)))
        if self.repeats is not None:
            logits[self.repeats.within(block)] += self.repeats.gain * self.scale
        return best, logits, column, inside


def _to_winners(scores: Tensor, best: Tensor, weights: Tensor, groups: Groups) -> None:
    """Give each (user, item) weight to the interest that won, in place of ``scores``.

    Interests that tie for an item share its weight evenly, as the gradient of ``amax`` does. (Among
    millions of float32 scores some tie by chance in every batch.)
    """
    row = user = 0
    for k, n in groups:
        part = scores[row : row + k * n].view(n, k, -1)
        weight = weights[user : user + n].unsqueeze(1)
        if k == 1:
            part.copy_(weight)
        else:
            # In place, a comparison leaves ones and zeros of the scores' own type.
            part.ge_(best[user : user + n].unsqueeze(1))
            part.mul_(weight / part.sum(1, keepdim=True))
        row, user = row + k * n, user + n
