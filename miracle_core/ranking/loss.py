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

from miracle_core.launches import at_once
from miracle_core.ranking.interests import Groups, Interests
from miracle_core.ranking.pieces import Piece
from miracle_core.ranking.precision import add_product, in_full, product_type
from miracle_core.ranking.seen import HadItems

# Scores made by one matrix product: 8 MiB of float32.
BLOCK_ELEMENTS = 1 << 21
# How many of these are processed together: 4 MiB, which two cores' own caches hold through all
# passes.
PIECE_ELEMENTS = 1 << 20
# A GPU processes a whole block at once, and a large one, 128 MiB of float32: each pass is a few
# launches, and it is launches that a GPU waits for (docs/performance.md). In a padded batch most
# rows hold no interest, so a block for as many users is larger.
GPU_ELEMENTS = 1 << 25
PADDED_ELEMENTS = 1 << 27
# With fewer interests than this in a chunk of users a matrix product reads more than it computes.
MIN_CHUNK_ROWS = 256
MAX_CHUNK_ROWS = 4096


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
    seen: HadItems | None = None,
    counted: Tensor | None = None,
) -> Tensor:
    """Mean over users of -log softmax of the target's max-over-interests score (eq. 16, 23).

    The gradients for interests and items are exact. They are computed together with each block of
    scores, so nothing of size users x items outlives its block.

    Args:
        interests: the users' active interests.
        items: [items, d], the candidates.
        targets: int64 [users], the row of ``items`` each user took next, users in the order of
            ``interests.users``.
        scale: what scores are multiplied with (1 / temperature).
        item_bias: [items], added to each candidate's scaled score: the logarithm of how often it
            counts, or a correction for sampling. It gets no gradient.
        target_bias: [users], replaces ``item_bias`` where a candidate is the user's own target.
        seen: the candidates that users have had, with the gain of their scores; the gain gets an
            exact gradient.
        counted: bool [users], the users of the mean; None for all. The interests of the others get
            a gradient of 0.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: ``target_bias`` without ``item_bias``.
    """
    if target_bias is not None and item_bias is None:
        raise ValueError("target_bias replaces item_bias: give both")
    loss: Tensor = _MaxInterestCrossEntropy.apply(  # type: ignore[no-untyped-call]
        in_full(interests.vectors),
        in_full(items),
        targets,
        interests.groups,
        scale,
        item_bias,
        target_bias,
        seen,
        None if seen is None else seen.gain,
        interests.active,
        counted,
    )
    return loss


class _MaxInterestCrossEntropy(torch.autograd.Function):
    """The loss and its gradients in one pass; the backward pass only scales them.

    Under autocast scores are products in its type. Sums, such as those of exponentials, are not.
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
        seen: HadItems | None,
        gain: Tensor | None,
        active: Tensor | None,
        counted: Tensor | None,
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        d_vectors = torch.empty_like(vectors) if wanted else None
        d_items = torch.empty_like(items) if wanted else None
        total, d_gain = vectors.new_zeros(()), vectors.new_zeros(())
        # One buffer for every block's scores: fresh memory costs more than filling it.
        low = product_type(vectors)
        block, piece = block_and_piece(vectors, padded=active is not None)
        buffer = vectors.new_empty(min(block, vectors.shape[0] * items.shape[0]), dtype=low)
        # Scaled vectors have scaled scores, which saves a pass over these.
        low_vectors, low_items = (vectors * scale).to(low), items.to(low)
        if seen is not None:
            seen = seen.with_gain(seen.gain.detach() * scale)
        for rows, users, part in chunks_of_users(groups, chunk_rows(items.shape[0], block)):
            chunk = _Chunk(
                low_vectors[rows],
                low_items,
                targets[users],
                part,
                item_bias,
                None if target_bias is None else target_bias[users],
                None if seen is None else seen.among(users),
                buffer,
                block,
                piece,
                total.dtype,
                None if active is None else active[rows],
                None if counted is None else counted[users],
            )
            d_rows = None if d_vectors is None else d_vectors[rows]
            total += chunk.loss(d_rows, d_items, first=rows.start == 0)
            if gain is not None:
                d_gain += chunk.d_gain()
        n = targets.numel() if counted is None else counted.sum(dtype=total.dtype)
        ctx.scale, ctx.users = scale, n
        if d_vectors is not None and d_items is not None:
            # The items' gradients were made with scaled vectors, so only the mean is missing.
            d_items.mul_(1.0 / n)
            ctx.save_for_backward(d_vectors, d_items, None if gain is None else d_gain)
        return total / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        d_vectors, d_items, d_gain = ctx.saved_tensors
        d_scores = d_loss * (ctx.scale / ctx.users)
        d_gain = None if d_gain is None else d_gain * d_scores
        # Mostly the loss has a weight of 1, which saves a copy of the catalogue's size. On a GPU
        # the host would have to wait to find out.
        weight_is_1 = not at_once(d_loss) and float(d_loss) == 1.0
        d_items = d_items if weight_is_1 else d_items * d_loss
        return d_vectors * d_scores, d_items, *(None,) * 6, d_gain, None, None


def block_and_piece(vectors: Tensor, *, padded: bool) -> tuple[int, int]:
    """How many scores one matrix product makes, and how many are processed together."""
    if at_once(vectors) and padded:
        return PADDED_ELEMENTS, PADDED_ELEMENTS
    if at_once(vectors):
        return GPU_ELEMENTS, GPU_ELEMENTS
    return BLOCK_ELEMENTS, PIECE_ELEMENTS


def chunk_rows(n_items: int, block: int) -> int:
    """Interests in a chunk: so many that the whole catalogue is one block, if they are not too few.

    With fewer than ``MIN_CHUNK_ROWS`` the catalogue is cut into blocks, for ``MAX_CHUNK_ROWS``.
    """
    rows = block // max(n_items, 1)
    return rows if rows >= MIN_CHUNK_ROWS else MAX_CHUNK_ROWS


class _Chunk:
    """The pass of some users over the catalogue: running log-sum-exp, then gradients.

    One product makes a block's scores. They are processed in pieces, a few users at a time, that
    stay in a core's own cache. If the catalogue is one block, each piece is processed once. A
    larger one computes each block's scores again for the gradients.
    """

    def __init__(
        self,
        vectors: Tensor,
        items: Tensor,
        targets: Tensor,
        groups: Groups,
        item_bias: Tensor | None,
        target_bias: Tensor | None,
        seen: HadItems | None,
        buffer: Tensor,
        block: int,
        piece: int,
        exact: torch.dtype,
        active: Tensor | None,
        counted: Tensor | None,
    ) -> None:
        self.vectors, self.items, self.buffer = vectors, items, buffer
        width = min(max(block // vectors.shape[0], 1), items.shape[0])
        self.blocks = [
            slice(start, min(start + width, items.shape[0]))
            for start in range(0, items.shape[0], width)
        ]
        self.pieces = [
            Piece(
                rows,
                targets[users].unsqueeze(1),
                part,
                item_bias,
                None if target_bias is None else target_bias[users].unsqueeze(1),
                None if seen is None else seen.among(users),
                exact,
                None if active is None else active[rows].unsqueeze(1),
                None if counted is None else counted[users].unsqueeze(1),
            )
            for rows, users, part in chunks_of_users(groups, max(piece // width, 1))
        ]

    def loss(self, d_vectors: Tensor | None, d_items: Tensor | None, first: bool) -> Tensor:
        """Sum of the users' losses.

        Args:
            d_vectors: [interests, d], is set to d(sum)/d(scaled scores) times the items; None
                computes no gradients.
            d_items: [items, d], gets the transpose of it times the vectors added.
            first: ``d_items`` is uninitialised: its gradient is written, not added.
        """
        once = len(self.blocks) == 1
        for block in self.blocks:
            scores = self._scores(block)
            for piece in self.pieces:
                if once:
                    piece.look_once(scores, gradient=d_vectors is not None)
                else:
                    piece.look(scores, block)
        if d_vectors is not None and d_items is not None:
            for block in self.blocks:
                if not once:
                    scores = self._scores(block)
                    for piece in self.pieces:
                        piece.look_again(scores, block)
                add_product(d_vectors, scores, self.items[block], first=block.start == 0)
                add_product(d_items[block], scores.T, self.vectors, first=first)
        return torch.cat([piece.loss for piece in self.pieces]).sum()

    def d_gain(self) -> Tensor:
        """d(sum of the losses)/d(scaled gain), after :meth:`loss` has made the gradients."""
        return torch.stack([piece.d_gain for piece in self.pieces]).sum()

    def _scores(self, block: slice) -> Tensor:
        """Scaled scores [interests, block]."""
        shape = (self.vectors.shape[0], block.stop - block.start)
        n = shape[0] * shape[1]
        # A single user with more interests than a block holds is the one case beyond the buffer.
        room = self.buffer if n <= self.buffer.numel() else self.vectors.new_empty(n)
        return torch.mm(self.vectors, self.items[block].T, out=room[:n].view(shape))
