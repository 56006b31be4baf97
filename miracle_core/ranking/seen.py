"""The seen rule: what the score of an item becomes where the user's history holds it.

Scores *as printed* (eq. 17) leave such items where they are. An interest is made of the history's
items, so these are always among the nearest to it. But in most catalogues people seldom take a
thing twice. Two rules allow for that. *Leave out* takes them from the candidates. The *gain* is one
learned number, added to the score of each item that the history holds; it may become positive where
people buy again what they have used up. Both are one mechanism: a number added to the score of each
(user, item the user has had). To leave out is to add minus infinity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.data.ragged import ragged
from miracle_core.ranking.interests import Interests


class Places(Protocol):
    """Where the items that users have had lie in a [users, candidates] block of scores."""

    def read(self, scores: Tensor) -> Tensor:
        """The numbers there."""

    def add(self, scores: Tensor, number: Tensor) -> None:
        """Add one number to each, in place."""

    def total(self, scores: Tensor) -> Tensor:
        """The sum of the numbers there, a scalar."""

    def write(self, scores: Tensor, numbers: Tensor) -> None:
        """Put back what :meth:`read` gave, in place."""


@dataclass(frozen=True)
class PairPlaces:
    """Places as pairs of a user and a column.

    Attributes:
        users: int64 [pairs].
        columns: int64 [pairs].
    """

    users: Tensor
    columns: Tensor

    def read(self, scores: Tensor) -> Tensor:
        """The numbers there, [pairs]."""
        return scores[self.users, self.columns]

    def add(self, scores: Tensor, number: Tensor) -> None:
        """Add one number to each, in place."""
        scores[self.users, self.columns] = scores[self.users, self.columns] + number

    def total(self, scores: Tensor) -> Tensor:
        """The sum of the numbers there, a scalar."""
        return scores[self.users, self.columns].sum()

    def write(self, scores: Tensor, numbers: Tensor) -> None:
        """Put back what :meth:`read` gave, in place."""
        scores[self.users, self.columns] = numbers


@dataclass(frozen=True)
class TablePlaces:
    """Equally many places for every user, some of which don't count.

    Attributes:
        columns: int64 [users, n], any column where a place doesn't count.
        counted: bool [users, n].
    """

    columns: Tensor
    counted: Tensor

    def read(self, scores: Tensor) -> Tensor:
        """The numbers there, [users, n]."""
        return scores.gather(1, self.columns)

    def add(self, scores: Tensor, number: Tensor) -> None:
        """Add one number to each that counts, in place."""
        more = torch.where(self.counted, number.to(scores.dtype), 0.0)
        scores.scatter_add_(1, self.columns, more)

    def total(self, scores: Tensor) -> Tensor:
        """The sum of the numbers there, a scalar."""
        return torch.where(self.counted, self.read(scores), 0.0).sum()

    def write(self, scores: Tensor, numbers: Tensor) -> None:
        """Put back what :meth:`read` gave, in place."""
        scores.scatter_(1, self.columns, numbers)


class HadItems(Protocol):
    """Which candidates users have had, and what is added to their scores: pairs or a table."""

    @property
    def gain(self) -> Tensor:
        """What is added to the score of each item that a user has had, a scalar."""

    def with_gain(self, gain: Tensor) -> HadItems:
        """The same with another gain."""

    def among(self, users: slice) -> HadItems:
        """The same for some users, who are then counted from 0."""

    def within(self, block: slice) -> Places:
        """The places of what users have had in a block of the candidates."""

    def holds(self, items: Tensor, n_items: int) -> Tensor:
        """Which of some candidates, int64 [users, any], each user has had."""

    def add_to(self, scores: Tensor) -> None:
        """Add the gain to scores of all candidates, [users, candidates], in place."""


@dataclass(frozen=True)
class Seen:
    """Which candidates users have had, as pairs, and what is added to their scores.

    Attributes:
        users: int64 [pairs], places of users, rising.
        items: int64 [pairs], the candidates' rows; no (user, item) twice.
        gain: a scalar, added to each pair's score; minus infinity leaves the items out.
        before: [users + 1], how many pairs come before each user's, and last how many there are.
            It is kept on the host, so that nothing is read from the device for each chunk of users.
    """

    users: Tensor
    items: Tensor
    gain: Tensor
    before: list[int]

    @classmethod
    def of(
        cls, interests: Interests, packed: Packed, gain: Tensor, candidates: Tensor | None = None
    ) -> Seen:
        """The items of packed histories that are candidates.

        Args:
            interests: of the histories; users are places in ``interests.users``.
            packed: the histories.
            gain: what each pair's score gains.
            candidates: int64 [candidates], rising, the items that are scored; None for all.
        """
        users = interests.places()[packed.history_of_token()]
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
        later, earlier = _pairs_within(packed)
        return cls._of_tokens(later, packed.items[earlier], gain, packed.n_tokens, candidates)

    @classmethod
    def of_masked_tokens(
        cls, packed: Packed, masked: Tensor, gain: Tensor, candidates: Tensor | None = None
    ) -> Seen:
        """What each masked token of packed histories could see: what came before, if not masked.

        Items after it don't count, since ranking does not know them. Neither does its own item: it
        is the target, and the gain would learn that targets have been seen.

        Args:
            packed: the histories.
            masked: bool [tokens]; users are places among the masked ones.
            gain: what each pair's score gains.
            candidates: int64 [candidates], rising, the items that are scored; None for all.
        """
        later, earlier = _pairs_within(packed)
        known = masked[later] & ~masked[earlier]
        rows = masked.cumsum(0) - 1
        users = rows[later[known]]
        n_users = int(rows[-1]) + 1
        return cls._of_tokens(users, packed.items[earlier[known]], gain, n_users, candidates)

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

        Items that are too old for a system to read count, too.
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

    def with_gain(self, gain: Tensor) -> Seen:
        """The same pairs with another gain."""
        return replace(self, gain=gain)

    def within(self, block: slice) -> PairPlaces:
        """Users and columns of the pairs whose item lies in a block of the candidates."""
        inside = (self.items >= block.start) & (self.items < block.stop)
        return PairPlaces(self.users[inside], self.items[inside] - block.start)

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


@dataclass(frozen=True)
class SeenTable:
    """:class:`Seen` for a padded batch: a table whose shape does not depend on the data.

    Attributes:
        items: int64 [users, n], candidates' rows; an item may come several times.
        counted: bool [users, n], which of them count: each item of a user once, no padding, and
            candidates only.
        gain: a scalar.
    """

    items: Tensor
    counted: Tensor
    gain: Tensor

    @classmethod
    def of(cls, packed: Packed, gain: Tensor, candidates: Tensor | None = None) -> SeenTable:
        """The items of padded histories that are candidates.

        Args:
            packed: the histories, padded.
            gain: what each item's score gains.
            candidates: int64 [candidates], rising, the items that are scored; None for all. Of
                equal ones the first counts.
        """
        return cls(*_rows_of(*_first_times(packed), candidates), gain)

    def ordered(self, places: Tensor) -> SeenTable:
        """The same with the users in another order.

        Args:
            places: int64 [users], which of the present users each new place holds.
        """
        return SeenTable(self.items[places], self.counted[places], self.gain)

    @classmethod
    def of_every_token(
        cls,
        packed: Packed,
        gain: Tensor,
        candidates: Tensor | None = None,
        masked: Tensor | None = None,
    ) -> SeenTable:
        """What each token of padded histories could see: itself and what came before it.

        Args:
            packed: the histories, padded; users are places of tokens.
            gain: what each item's score gains.
            candidates: int64 [candidates], rising, the items that are scored; None for all.
            masked: bool [tokens], items that no token could see; None: all could be seen.
        """
        items, first = _rows_of(*_first_times(packed, masked), candidates)
        length = items.shape[1]
        # An item has been seen if its first occurrence has.
        upto = torch.ones(length, length, dtype=torch.bool, device=items.device).tril_()
        return cls(
            items.unsqueeze(1).expand(-1, length, -1).reshape(-1, length),
            (first.unsqueeze(1) & upto).view(-1, length),
            gain,
        )

    def with_gain(self, gain: Tensor) -> SeenTable:
        """The same items with another gain."""
        return replace(self, gain=gain)

    def among(self, users: slice) -> SeenTable:
        """The same of some users, who are then counted from 0."""
        return SeenTable(self.items[users], self.counted[users], self.gain)

    def within(self, block: slice) -> TablePlaces:
        """The places of the items that lie in a block of the candidates."""
        columns = self.items - block.start
        inside = self.counted & (columns >= 0) & (self.items < block.stop)
        return TablePlaces(columns.clamp_(0, block.stop - block.start - 1), inside)

    def holds(self, items: Tensor, n_items: int) -> Tensor:
        """Which of some candidates each user has had.

        Args:
            items: int64 [users, any], candidates of each user.
            n_items: how many candidates there are.

        Returns:
            bool [users, any].
        """
        # No item has a row of -1.
        had = torch.where(self.counted, self.items, -1)
        return (items.unsqueeze(2) == had.unsqueeze(1)).any(2)

    def add_to(self, scores: Tensor) -> None:
        """Add the gain to scores of all candidates, [users, candidates], in place."""
        self.within(slice(0, scores.shape[1])).add(scores, self.gain)


def _first_times(packed: Packed, masked: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The items of padded histories, and which are the first occurrence in their history.

    Args:
        packed: the histories.
        masked: bool [tokens], items that are ignored, as padding is; None: none.

    Returns:
        int64 [histories, N] and bool [histories, N], which is False at padding.

    Raises:
        ValueError: the batch is not padded.
    """
    if packed.valid is None:
        raise ValueError("a table is of a padded batch")
    items, valid = packed.items.view(packed.n_histories, -1), packed.valid
    if masked is not None:
        valid = valid & ~masked
    valid = valid.view_as(items)
    length = items.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=items.device).tril_(-1)
    same = (items.unsqueeze(2) == items.unsqueeze(1)) & earlier & valid.unsqueeze(1)
    return items, valid & ~same.any(2)


def _rows_of(items: Tensor, counted: Tensor, candidates: Tensor | None) -> tuple[Tensor, Tensor]:
    """The rows of items among rising candidates, and which counted items are candidates at all."""
    if candidates is None:
        return items, counted
    rows = torch.searchsorted(candidates, items).clamp_max_(len(candidates) - 1)
    return rows, counted & (candidates[rows] == items)


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


def _pairs_within(packed: Packed) -> tuple[Tensor, Tensor]:
    """Pairs of each token with itself and with each older one of its history.

    Returns:
        The later token and the earlier one, each int64 [pairs].
    """
    laters, earliers, first = [], [], 0
    device = packed.items.device
    for length, count in packed.groups:
        later, earlier = torch.tril_indices(length, length, device=device)
        starts = first + length * torch.arange(count, device=device).unsqueeze(1)
        laters.append((starts + later).flatten())
        earliers.append((starts + earlier).flatten())
        first += length * count
    return torch.cat(laters), torch.cat(earliers)
