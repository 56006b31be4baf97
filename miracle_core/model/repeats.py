"""What a score gains where the user has had the item already: an addition to the paper.

An interest is made of the items it is to be compared with, so the items of a history are always
among the nearest to it; yet in most catalogues people seldom take a thing twice. The paper's score
(eq. 17) can't tell the two apart, and its best places go to things that the user has. One learned
number can: it is added to the score of each item that the history holds, and it may as well become
positive, where people buy again what they have used up.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.model.capsules import Interests


@dataclass(frozen=True)
class Repeats:
    """Which candidates are items that the users have had.

    Attributes:
        users: int64 [pairs], places in ``Interests.users``, rising.
        items: int64 [pairs], the candidates' rows; no (user, item) twice.
        gain: a scalar, what each pair's score gains.
        before: [users + 1], how many pairs come before each user's, and how many there are. Known
            here, so that nothing is read back from the device for each part of the users.
    """

    users: Tensor
    items: Tensor
    gain: Tensor
    before: list[int]

    @classmethod
    def of(
        cls, interests: Interests, packed: Packed, gain: Tensor, candidates: Tensor | None = None
    ) -> Repeats:
        """The items of histories, as far as they are candidates.

        Args:
            interests: of the histories.
            packed: the histories.
            gain: what each pair's score gains.
            candidates: int64 [candidates], rising, the items that are scored; None for all.
        """
        users, items = _places(interests)[packed.history_of_token()], packed.items
        if candidates is not None:
            rows = torch.searchsorted(candidates, items).clamp_max(len(candidates) - 1)
            had = candidates[rows] == items
            users, items = users[had], rows[had]
        width = int(items.max()) + 1 if len(items) else 1
        pairs = (users * width + items).unique()
        users = pairs // width
        return cls.of_pairs(users, pairs - users * width, gain, interests.n_users)

    @classmethod
    def of_pairs(cls, users: Tensor, items: Tensor, gain: Tensor, n_users: int) -> Repeats:
        """Repeats of ``n_users`` users from their pairs."""
        counts = torch.bincount(users, minlength=n_users)
        return cls(users, items, gain, list(accumulate(counts.tolist(), initial=0)))

    def among(self, users: slice) -> Repeats:
        """The pairs of some users, who are then counted from 0."""
        first, last = self.before[users.start], self.before[users.stop]
        before = [pairs - first for pairs in self.before[users.start : users.stop + 1]]
        own = self.users[first:last] - users.start
        return Repeats(own, self.items[first:last], self.gain, before)

    def within(self, block: slice) -> tuple[Tensor, Tensor]:
        """Users and columns of the pairs whose item lies in a block of the candidates."""
        inside = (self.items >= block.start) & (self.items < block.stop)
        return self.users[inside], self.items[inside] - block.start

    def add_to(self, scores: Tensor) -> None:
        """Add the gain to scores of all candidates, [users, candidates], in place."""
        scores[self.users, self.items] += self.gain


def _places(interests: Interests) -> Tensor:
    """The place in ``Interests.users`` of each packed history, int64 [histories]."""
    places = torch.empty_like(interests.users)
    places[interests.users] = torch.arange(len(places), device=places.device)
    return places
