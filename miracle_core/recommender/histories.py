"""Many histories end to end, as arrays: those of users in the data, or from a caller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from miracle_core.data.dataset import Dataset
from miracle_core.data.ragged import ragged
from miracle_core.errors import InputError
from miracle_core.recommender.given import Known, NewTitle

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Histories:
    """Histories end to end, each oldest item first and none empty.

    Attributes:
        items: int64 [tokens]; a new item is the catalogue's size plus its place in ``new``.
        starts: int64 [histories]; a history is ``items[starts[i]:ends[i]]``.
        ends: int64 [histories].
        new: items that the catalogue doesn't hold, each once.
        n_items: the catalogue's size.
    """

    items: Integers
    starts: Integers
    ends: Integers
    new: tuple[NewTitle, ...]
    n_items: int

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of_users(cls, dataset: Dataset, users: Integers) -> Self:
        """The whole histories of users of the data, up to their last item.

        Raises:
            InputError: a user has no item.
        """
        starts = np.asarray(dataset.offsets[users], dtype=np.int64)
        lengths = np.asarray(dataset.offsets[users + 1], dtype=np.int64) - starts
        if not lengths.all():
            empty = int(users[int(np.argmin(lengths))])
            raise InputError(f"user {dataset.users['user_id'][empty]!r} has no item")
        _, places = ragged(starts, lengths)
        items = np.asarray(dataset.sequences[places], dtype=np.int64)
        ends = np.cumsum(lengths)
        return cls(items, ends - lengths, ends, (), dataset.n_items)

    @classmethod
    def of_lists(cls, histories: Iterable[Sequence[Known]], n_items: int) -> Self:
        """Histories of catalogue items, by index, and of new ones.

        Raises:
            ValueError: a history is empty.
        """
        new: dict[NewTitle, int] = {}
        flat: list[int] = []
        ends: list[int] = []
        for history in histories:
            if not len(history):
                raise ValueError("a history is empty")
            flat += [
                n_items + new.setdefault(item, len(new)) if isinstance(item, NewTitle) else item
                for item in history
            ]
            ends.append(len(flat))
        stops = np.array(ends, dtype=np.int64)
        starts = np.concatenate([[0], stops])[:-1].astype(np.int64)
        return cls(np.array(flat, dtype=np.int64), starts, stops, tuple(new), n_items)

    def batches(self, size: int) -> Iterable[slice]:
        """Slices of ``size`` histories, one after another."""
        return (slice(start, min(start + size, len(self))) for start in range(0, len(self), size))

    def known_pairs(self, part: slice, order: Integers) -> tuple[Integers, Integers, Integers]:
        """The catalogue items of some histories, without new ones: items, starts, ends.

        Args:
            part: which histories.
            order: int64 [histories of the part], the order they are wanted in.
        """
        starts, ends = self.starts[part][order], self.ends[part][order]
        rows, places = ragged(starts, ends - starts)
        items = self.items[places]
        kept = items < self.n_items
        counts = np.bincount(rows[kept], minlength=len(starts))
        stops = np.cumsum(counts)
        return items[kept], stops - counts, stops
