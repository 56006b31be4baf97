"""Max-over-interests scores and their softmax loss, the catalogue in blocks (eq. 16-17, 23).

score(u, v) = max over the user's active interests i of <u_i, x_v>. Neither [users, capsules, items]
nor [users, items] ever exists whole: one block of scores at a time does, of a size that does not
depend on the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from miracle_core.model.capsules import Interests
from miracle_core.model.precision import add_product, product_type
from miracle_core.model.repeats import Repeats

Groups = tuple[tuple[int, int], ...]

# Scores held at a time: 8 MiB of float32, so that the passes over a block stay in a cache.
BLOCK_ELEMENTS = 1 << 21
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

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: ``target_bias`` without ``item_bias``.
    """
    if target_bias is not None and item_bias is None:
        raise ValueError("target_bias replaces item_bias: give both")
    loss: Tensor = _MaxInterestCrossEntropy.apply(  # type: ignore[no-untyped-call]
        interests.vectors,
        items,
        None if repeats is None else repeats.gain,
        targets,
        interests.groups,
        scale,
        item_bias,
        target_bias,
        repeats,
    )
    return loss


class _MaxInterestCrossEntropy(torch.autograd.Function):
    """The loss and its gradients in one walk; the backward pass only scales them.

    Under autocast scores are products in its type; what is summed, exponentials among it, is not.
    """

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        items: Tensor,
        gain: Tensor | None,
        targets: Tensor,
        groups: Groups,
        scale: float,
        item_bias: Tensor | None,
        target_bias: Tensor | None,
        repeats: Repeats | None,
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad[:3])
        d_vectors = torch.zeros_like(vectors) if wanted else None
        d_items = torch.zeros_like(items) if wanted else None
        d_gain = vectors.new_zeros(())
        total = vectors.new_zeros(())
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
            total += chunk.loss()
            if d_vectors is not None and d_items is not None:
                d_gain += chunk.add_gradients(d_vectors[rows], d_items)
        n_users = targets.numel()
        if d_vectors is not None and d_items is not None:
            for gradient in (d_vectors, d_items, d_gain):
                gradient.mul_(scale / n_users)
            ctx.save_for_backward(d_vectors, d_items, None if gain is None else d_gain)
        return total / n_users

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        d_vectors, d_items, d_gain = ctx.saved_tensors
        d_gain = None if d_gain is None else d_gain * d_loss
        return d_vectors * d_loss, d_items * d_loss, d_gain, None, None, None, None, None, None


def chunk_rows(n_items: int) -> int:
    """Interests in a chunk: as many as let the whole catalogue be one block, else the most."""
    rows = BLOCK_ELEMENTS // max(n_items, 1)
    return rows if rows >= MIN_CHUNK_ROWS else MAX_CHUNK_ROWS


class _Chunk:
    """Some users' walk over the catalogue: running log-sum-exp, then gradients.

    A catalogue of one block keeps its scores for the gradients; a larger one computes each
    block's again.
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
        self.vectors, self.items, self.targets, self.groups = vectors, items, targets, groups
        self.scale, self.item_bias, self.target_bias = scale, item_bias, target_bias
        self.repeats, self.buffer, self.exact = repeats, buffer, exact
        width = max(BLOCK_ELEMENTS // vectors.shape[0], 1)
        self.blocks = [
            slice(start, min(start + width, items.shape[0]))
            for start in range(0, items.shape[0], width)
        ]
        self.everyone = torch.arange(targets.numel(), device=targets.device)
        self.kept: tuple[Tensor, Tensor, Tensor] | None = None

    def _block(self, block: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Raw scores [interests, block], their max [users, block], and logits in a new tensor."""
        shape = (self.vectors.shape[0], block.stop - block.start)
        n = shape[0] * shape[1]
        # A single user with more interests than a block holds is the one case beyond the buffer.
        room = self.buffer if n <= self.buffer.numel() else self.vectors.new_empty(n)
        scores = room[:n].view(shape)
        torch.mm(self.vectors, self.items[block].T, out=scores)
        best = max_over_interests(scores, self.groups)
        logits = best.to(self.exact) * self.scale
        if self.item_bias is not None:
            logits += self.item_bias[block]
            if self.target_bias is not None:
                mine, column = self._targets_in(block)
                own = best[mine, column].to(self.exact) * self.scale + self.target_bias[mine]
                logits[mine, column] = own
        if self.repeats is not None:
            logits[self.repeats.within(block)] += self.repeats.gain * self.scale
        return scores, best, logits

    def _targets_in(self, block: slice) -> tuple[Tensor, Tensor]:
        """Users whose target lies in the block, and its column there."""
        if len(self.blocks) == 1:
            return self.everyone, self.targets
        inside = (self.targets >= block.start) & (self.targets < block.stop)
        mine = self.everyone[inside]
        return mine, self.targets[mine] - block.start

    def loss(self) -> Tensor:
        """Sum over the users of log-sum-exp minus the target's logit."""
        # The least finite number, not -inf: a whole block may be biased to -inf.
        least = torch.finfo(self.exact).min
        best_so_far = self.vectors.new_full((self.targets.numel(), 1), least, dtype=self.exact)
        total = torch.zeros_like(best_so_far)
        own = best_so_far.new_empty(self.targets.numel())
        for block in self.blocks:
            scores, best, logits = self._block(block)
            mine, column = self._targets_in(block)
            own[mine] = logits[mine, column]
            high = torch.maximum(best_so_far, logits.amax(1, keepdim=True))
            powers = logits.sub_(high).exp_()
            total = total * (best_so_far - high).exp() + powers.sum(1, keepdim=True)
            best_so_far = high
            if len(self.blocks) == 1:
                self.kept = (scores, best, powers.div_(total))
        self.normaliser = best_so_far + total.log()
        return (self.normaliser.squeeze(1) - own).sum()

    def add_gradients(self, d_vectors: Tensor, d_items: Tensor) -> Tensor:
        """Add d(sum of losses)/d(scores * scale) to both gradients, and return the gain's."""
        d_gain = d_vectors.new_zeros(())
        for block in self.blocks:
            if self.kept is not None:
                scores, best, weights = self.kept
            else:
                scores, best, logits = self._block(block)
                weights = logits.sub_(self.normaliser).exp_()
            mine, column = self._targets_in(block)
            weights[mine, column] -= 1.0
            if self.repeats is not None:
                d_gain += weights[self.repeats.within(block)].sum()
            d_scores = _to_winners(scores, best, weights, self.groups)
            add_product(d_vectors, d_scores, self.items[block])
            add_product(d_items[block], d_scores.T, self.vectors)
        return d_gain


def _to_winners(scores: Tensor, best: Tensor, weights: Tensor, groups: Groups) -> Tensor:
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
    return scores
