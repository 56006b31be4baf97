"""The filters of preparation, over interactions as arrays of codes, and their counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

COUNTED = ("users", "items", "interactions")

Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass
class Log:
    """Interactions in input order, and the count of each step that left some out.

    Attributes:
        users: int64 [n], codes from 0.
        items: int64 [n], codes from 0.
        time: int64 or float64 [n].
        steps: one entry a step: step, users, items, interactions that are left.
        rows: int64 [n] or empty, which rows of a larger log these are.
        lost: one entry a step that left something out: step, users, items, interactions that it
            left out, and what keeps them.
        keep_items: whether items stay in the catalogue without an interaction, so that no filter
            loses any.
        left: users, items and interactions as last counted.
    """

    users: Codes
    items: Codes
    time: npt.NDArray[Any]
    steps: list[dict[str, Any]] = field(default_factory=list)
    rows: Codes = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    lost: list[dict[str, Any]] = field(default_factory=list)
    keep_items: bool = False
    left: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.users)

    def keep(self, mask: Mask) -> None:
        """Keep only the interactions of a mask, bool [n]."""
        if not mask.all():
            self.users, self.items, self.time = (
                self.users[mask],
                self.items[mask],
                self.time[mask],
            )
            if len(self.rows):
                self.rows = self.rows[mask]

    def count(
        self, step: str, keep: str = "", *, of: Mapping[str, int] | None = None, **more: int
    ) -> None:
        """Record what a step left, and what it left out.

        Args:
            step: its name.
            keep: what to change to keep what it left out.
            of: users, items and interactions before the step; None takes the last count.
            more: more entries for the step's record.
        """
        left = self.counted()
        before = self.left if of is None else of
        if before is not None:
            lost = {name: before[name] - left[name] for name in COUNTED}
            self.lose(step, keep, **lost | ({"items": 0} if self.keep_items else {}))
        self.left = left
        self.steps.append({"step": step, **left, **more})

    def counted(self) -> dict[str, int]:
        """Users, items and interactions that are left."""
        return {
            "users": int(np.count_nonzero(np.bincount(self.users))),
            "items": int(np.count_nonzero(np.bincount(self.items))),
            "interactions": len(self),
        }

    def lose(
        self, step: str, keep: str, *, users: int = 0, items: int = 0, interactions: int = 0
    ) -> None:
        """Record what a step left out, if it left out anything; what it has is added to."""
        counts = {"users": users, "items": items, "interactions": interactions}
        if not any(counts.values()):
            return
        for earlier in self.lost:
            if (earlier["step"], earlier["keep"]) == (step, keep):
                earlier.update({name: earlier[name] + count for name, count in counts.items()})
                return
        self.lost.append({"step": step, **counts, "keep": keep})

    def order(self) -> Codes:
        """Rows by user, then by time; equal times keep the input order."""
        return by_user_and_time(self.users, self.time)


def by_user_and_time(users: Codes, time: npt.NDArray[Any]) -> Codes:
    """The order of rows by user, then by time; equal times keep the input order.

    Args:
        users: int64 [n], codes from 0.
        time: int64 or float64 [n].

    Returns:
        int64 [n].
    """
    if len(time) and time.dtype.kind == "i":
        least, span = int(time.min()), int(time.max()) - int(time.min()) + 1
        if span * (int(users.max()) + 1) < 1 << 63:  # one sort of both together is faster than two
            return np.argsort(users * span + (time - least), kind="stable")
    return np.lexsort((time, users))


def k_core(users: Codes, items: Codes, k: int, item_k: int | None = None) -> tuple[Mask, int]:
    """The interactions of the largest set in which every user and item has enough of them.

    Interactions are counted, not pairs: buying an item twice counts twice.

    Args:
        users: int64 [n], codes from 0.
        items: int64 [n], codes from 0.
        k: the least number of interactions of a user.
        item_k: the least number of interactions of an item; None takes ``k``.

    Returns:
        Which interactions stay, bool [n], and how many rounds of removal it took.
    """
    item_k = k if item_k is None else item_k
    keep = np.ones(len(users), dtype=bool)
    index = np.arange(len(users))
    rounds = 0
    while len(index):
        few_users = np.bincount(users[index])[users[index]] < k
        few_items = np.bincount(items[index])[items[index]] < item_k
        remove = few_users | few_items
        if not remove.any():
            break
        rounds += 1
        keep[index[remove]] = False
        index = index[~remove]
    return keep, rounds


def one_of_each_pair(log: Log, *, last: bool) -> Mask:
    """Keep only the first in time, or the last, of a user's interactions with one item.

    Returns:
        Which interactions stay, bool [n]. Equal times are in input order.
    """
    order = np.lexsort((log.time, log.items, log.users))
    change = _changes(log.users[order], log.items[order])
    if last:
        change = np.append(change[1:], True)[: len(order)]
    keep = np.zeros(len(order), dtype=bool)
    keep[order[change]] = True
    return keep


def one_of_duplicates(log: Log) -> Mask:
    """Keep only the first in input order of interactions with equal user, item and time.

    Returns:
        Which interactions stay, bool [n].
    """
    order = np.lexsort((log.time, log.items, log.users))
    change = _changes(log.users[order], log.items[order], log.time[order])
    keep = np.zeros(len(order), dtype=bool)
    keep[order[change]] = True  # the sort is stable
    return keep


def count_duplicates(pairs: pl.Series, time: npt.NDArray[Any]) -> int:
    """Interactions whose user, item and time are those of an earlier one.

    Args:
        pairs: [n], a number for each pair of user and item.
        time: [n].
    """
    again = pairs.is_duplicated()
    found = pl.DataFrame({"pair": pairs.filter(again), "time": time[again.to_numpy()]})
    return found.height - found.n_unique()


def _changes(*columns: npt.NDArray[Any]) -> Mask:
    """Rows that differ from the one before in any column, bool [n]; the first row does."""
    change = np.ones(len(columns[0]), dtype=bool)
    change[1:] = False
    for column in columns:
        change[1:] |= column[1:] != column[:-1]
    return change


def latest(log: Log, most: int) -> Mask:
    """Which interactions are among their user's latest ``most``, bool [n]."""
    order = log.order()
    counts = np.bincount(log.users)
    ends = np.repeat(np.cumsum(counts), counts)
    keep = np.zeros(len(order), dtype=bool)
    keep[order[ends - np.arange(len(order)) <= most]] = True
    return keep


def long_enough(log: Log, least: int) -> Mask:
    """Which interactions are of users with at least ``least`` of them, bool [n]."""
    return np.bincount(log.users)[log.users] >= least
