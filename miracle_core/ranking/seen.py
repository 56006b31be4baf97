"""The seen rule: what the score of an item becomes where the user's history holds it.

Scores *as printed* (eq. 17) leave such items where they are. An interest is made of the items it is
compared with, so these are always among the nearest to it, yet in most catalogues people seldom
take a thing twice. Two rules know better. *Leave out* takes them from the candidates. The *gain* is
one learned number, added to the score of each item that the history holds; it may become positive
where people buy again what they have used up. Both are one mechanism: a number added to the score
of each (user, item the user has had). To leave out is to add minus infinity.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.data.ragged import ragged
from miracle_core.ranking.interests import Interests


@dataclass(frozen=True)
class Seen:
    """Which candidates users have had, and what their scores gain by it.

    Attributes:
        users: int64 [pairs], places of users, rising.
        items: int64 [pairs], the candidates' rows; no (user, item) twice.
        gain: a scalar, what each pair's score gains; minus infinity leaves the items out.
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
    ) -> Seen:
        """The items of packed histories, as far as they are candidates.

        Args:
            interests: of the histories; users are places in ``interests.users``.
            packed: the histories.
            gain: what each pair's score gains.
            candidates: int64 [candidates], rising, the items that are scored; None for all.
        """
        users = _places(interests)[packed.history_of_token()]
        return cls._of_tokens(users, packed.items, gain, interests.n_users, candidates)

    @classmethod
    def _of_tokens(
        cls,
        users: Tensor,
        items: Tensor,
        gain: Tensor,
        n_users: int,
        candidates: Tensor | None,
    ) -> Seen:
        """From users and items with repetitions, in any order."""
        if candidates is not None:
            rows = torch.searchsorted(candidates, items).clamp_max(len(candidates) - 1)
            had = candidates[rows] == items
            users, items = users[had], rows[had]
        width = int(items.max()) + 1 if len(items) else 1
        pairs = (users * width + items).unique()
        users = pairs // width
        return cls.of_pairs(users, pairs - users * width, gain, n_users)

    @classmethod
    def of_every_token(cls, packed: Packed, gain: Tensor, candidates: Tensor | None = None) -> Seen:
        """What each token of packed histories could see: itself and what came before it.

        Args:
            packed: the histories; users are places of tokens.
            gain: what each pair's score gains.
            candidates: int64 [candidates], rising, the items that are scored; None for all.
        """
        rows, places, first = [], [], 0
        device = packed.items.device
        for length, count in packed.groups:
            later, earlier = torch.tril_indices(length, length, device=device)
            starts = first + length * torch.arange(count, device=device).unsqueeze(1)
            rows.append((starts + later).flatten())
            places.append((starts + earlier).flatten())
            first += length * count
        return cls._of_tokens(
            torch.cat(rows), packed.items[torch.cat(places)], gain, packed.n_tokens, candidates
        )

    @classmethod
    def of_pairs(cls, users: Tensor, items: Tensor, gain: Tensor, n_users: int) -> Seen:
        """From the pairs of ``n_users`` users, sorted by user."""
        counts = torch.bincount(users, minlength=n_users)
        return cls(users, items, gain, list(accumulate(counts.tolist(), initial=0)))

    @classmethod
    def left_out(
        cls,
        sequences: npt.NDArray[np.integer],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        device: torch.device | str = "cpu",
    ) -> Seen:
        """The items of whole histories ``sequences[starts[i]:ends[i]]``, to be left out.

        Also those items count that are older than what a system reads.
        """
        users, items = seen_pairs(sequences, starts, ends)
        return cls.of_pairs(
            torch.from_numpy(users).to(device),
            torch.from_numpy(items).to(device),
            torch.tensor(-torch.inf, device=device),
            len(starts),
        )

    def ordered(self, places: Tensor) -> Seen:
        """The same pairs with the users in another order.

        Args:
            places: int64 [users], which of the present users each new place holds.
        """
        new = torch.empty_like(places)
        new[places] = torch.arange(len(places), device=places.device)
        users = new[self.users]
        order = users.argsort(stable=True)
        return Seen.of_pairs(users[order], self.items[order], self.gain, len(places))

    def of_some(self, chosen: Tensor) -> Seen:
        """The pairs of some users, who are then counted from 0.

        Args:
            chosen: bool [users].
        """
        number = chosen.cumsum(0) - 1
        kept = chosen[self.users]
        users = number[self.users[kept]]
        return Seen.of_pairs(users, self.items[kept], self.gain, int(chosen.sum()))

    def among(self, users: slice) -> Seen:
        """The pairs of some users, who are then counted from 0."""
        first, last = self.before[users.start], self.before[users.stop]
        before = [pairs - first for pairs in self.before[users.start : users.stop + 1]]
        own = self.users[first:last] - users.start
        return Seen(own, self.items[first:last], self.gain, before)

    def within(self, block: slice) -> tuple[Tensor, Tensor]:
        """Users and columns of the pairs whose item lies in a block of the candidates."""
        inside = (self.items >= block.start) & (self.items < block.stop)
        return self.users[inside], self.items[inside] - block.start

    def holds(self, items: Tensor, n_items: int) -> Tensor:
        """Which of some candidates each user has had.

        Args:
            items: int64 [users, any], candidates of each user.
            n_items: how many candidates there are.

        Returns:
            bool [users, any].
        """
        if not len(self.users):
            return torch.zeros_like(items, dtype=torch.bool)
        had = (self.users * n_items + self.items).sort().values
        asked = torch.arange(len(items), device=items.device).unsqueeze(1) * n_items + items
        return had[torch.searchsorted(had, asked).clamp_max_(len(had) - 1)] == asked

    def add_to(self, scores: Tensor) -> None:
        """Add the gain to scores of all candidates, [users, candidates], in place."""
        scores[self.users, self.items] += self.gain.to(scores.dtype)


def seen_pairs(
    sequences: npt.NDArray[np.integer],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Each (history, item) of whole histories once, sorted: two int64 [pairs]."""
    rows, places = ragged(starts, ends - starts)
    items = np.asarray(sequences[places], dtype=np.int64)
    width = int(items.max()) + 1 if len(items) else 1
    return np.divmod(np.unique(rows * width + items), width)


def _places(interests: Interests) -> Tensor:
    """The place in ``Interests.users`` of each packed history, int64 [histories]."""
    places = torch.empty_like(interests.users)
    places[interests.users] = torch.arange(len(places), device=places.device)
    return places
