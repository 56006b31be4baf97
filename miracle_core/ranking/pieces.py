"""Some users' scores in a block of the catalogue: their maximum, softmax and gradients in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from miracle_core.ranking.interests import Groups, group_slices
from miracle_core.ranking.seen import HadItems, Places


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
    for k, rows, users in group_slices(groups):
        if k == 1:
            best[users] = scores[rows]
        else:
            torch.amax(scores[rows].unflatten(0, (-1, k)), 1, out=best[users])
    return best


class Piece:
    """Some users of a chunk: the running log-sum-exp of their scores, their losses and gradients.

    Args:
        rows: their interests among the chunk's.
        targets: int64 [users, 1].
        groups: (interests a user, users) of each run.
        item_bias: [items], or None.
        target_bias: [users, 1], or None.
        seen: the candidates that they have had, or None.
        exact: the type of sums.
        active: bool [interests, 1], which rows hold an interest; None for all.
        counted: bool [users, 1], whose losses count; None for all.
    """

    def __init__(
        self,
        rows: slice,
        targets: Tensor,
        groups: Groups,
        item_bias: Tensor | None,
        target_bias: Tensor | None,
        seen: HadItems | None,
        exact: torch.dtype,
        active: Tensor | None = None,
        counted: Tensor | None = None,
    ) -> None:
        self.rows, self.targets, self.groups = rows, targets, groups
        self.active, self.counted = active, counted
        self.item_bias, self.target_bias, self.seen = item_bias, target_bias, seen
        # The least finite number, not -inf: a whole block may be biased to -inf.
        self.high = torch.full_like(targets, torch.finfo(exact).min, dtype=exact)
        self.total = torch.zeros_like(self.high)
        self.own = torch.zeros_like(self.high)
        self.d_gain = self.high.new_zeros(())

    @property
    def loss(self) -> Tensor:
        """Log-sum-exp minus the target's logit, [users, 1]; 0 where a user doesn't count."""
        loss = self.high + self.total.log() - self.own
        return loss if self.counted is None else torch.where(self.counted, loss, 0.0)

    def look_once(self, scores: Tensor, gradient: bool) -> None:
        """Take the scores of the whole catalogue, the one block there is.

        Args:
            scores: the chunk's, [interests, items].
            gradient: leave the scores' gradients in their place.
        """
        view = self._see(scores, slice(0, scores.shape[1]))
        self.own = view.logits.gather(1, view.column)
        self.high = view.logits.amax(1, keepdim=True)
        # One call, during which a row stays in the nearest cache. The largest weight is 1 / total.
        weights = torch.softmax(view.logits, 1)
        self.total = weights.amax(1, keepdim=True).reciprocal_()
        if gradient:
            self._spread(view, weights)

    def look(self, scores: Tensor, block: slice) -> None:
        """Take a block's scores, [interests, block], into the log-sum-exp."""
        view = self._see(scores, block)
        self.own = torch.where(view.inside, view.logits.gather(1, view.column), self.own)
        high = torch.maximum(self.high, view.logits.amax(1, keepdim=True))
        powers = view.logits.sub_(high).exp_()
        self.total = self.total * (self.high - high).exp() + powers.sum(1, keepdim=True)
        self.high = high

    def look_again(self, scores: Tensor, block: slice) -> None:
        """Leave the gradients of a block's scores in their place, all blocks having been seen."""
        view = self._see(scores, block)
        self._spread(view, (view.logits - (self.high + self.total.log())).exp_())

    def _see(self, scores: Tensor, block: slice) -> _View:
        part = scores[self.rows]
        if self.active is not None:
            part.masked_fill_(self.active.logical_not(), -torch.inf)
        best = max_over_interests(part, self.groups)
        logits = best.to(self.own.dtype)
        if self.item_bias is not None:
            logits = logits + self.item_bias[block]
        column = self.targets - block.start
        inside = (column >= 0) & (column < logits.shape[1])
        column = column.clamp_(0, logits.shape[1] - 1)
        if self.target_bias is not None:
            own = best.gather(1, column).to(logits.dtype) + self.target_bias
            logits.scatter_(1, column, torch.where(inside, own, logits.gather(1, column)))
        view = _View(part, best, logits, column, inside)
        if self.seen is not None:
            places = self.seen.within(block)
            view.places, view.had = places, places.read(best)
            places.add(logits, self.seen.gain)
        return view

    def _spread(self, view: _View, weights: Tensor) -> None:
        """The gradient of the logits, from their softmax, to the interests that won."""
        weights.scatter_add_(1, view.column, -view.inside.to(weights.dtype))
        if self.counted is not None:
            weights.mul_(self.counted)
        if view.places is not None and view.had is not None:
            self.d_gain += view.places.total(weights)
            # Winners are found by their scores without the gain, and the logits may lie in the same
            # memory.
            view.places.write(view.best, view.had)
        _to_winners(view.part, view.best, weights, self.groups)


@dataclass
class _View:
    """A piece's scores in a block.

    Attributes:
        part: [interests, block], the scores of each interest.
        best: [users, block], the best score of each user.
        logits: [users, block], ``best`` with biases and gain added. Without biases, and in the
            same type, it is the same tensor as ``best``.
        column: int64 [users, 1], the targets' columns in the block.
        inside: bool [users, 1], whether the targets lie in the block at all.
        places: of items that users have had, if their scores gain.
        had: the numbers of ``best`` at these places, without the gain.
    """

    part: Tensor
    best: Tensor
    logits: Tensor
    column: Tensor
    inside: Tensor
    places: Places | None = None
    had: Tensor | None = None


def _to_winners(scores: Tensor, best: Tensor, weights: Tensor, groups: Groups) -> None:
    """Give each (user, item) weight to the interest that won, in place of ``scores``.

    Interests that tie for an item share its weight evenly, as the gradient of ``amax`` does. (Among
    millions of float32 scores some tie by chance in every batch.)
    """
    for k, rows, users in group_slices(groups):
        if k == 1:
            scores[rows] = weights[users]
            continue
        part = scores[rows].unflatten(0, (-1, k))
        # In place, a comparison leaves ones and zeros of the scores' own type.
        part.ge_(best[users].unsqueeze(1))
        winners = part.sum(1, keepdim=True)
        part.mul_(torch.div(weights[users].unsqueeze(1), winners, out=winners))
