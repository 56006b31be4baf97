"""The figures of a Dataset: the paper's table 1, and how long the sequences are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import polars as pl

from miracle_core.data.dataset import Dataset

_SHARES = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the items, on the curve of popularity
# Where the classes of length begin; the last one has no upper end.
_EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 30, 50, 100, 200, 500)


@dataclass(frozen=True)
class LengthClass:
    """How many users have a sequence of ``least`` to ``most`` items (None: any more)."""

    least: int
    most: int | None
    users: int


@dataclass(frozen=True)
class Cold:
    """Items that were never trained on, and targets that are such items.

    Attributes:
        items: items without a training interaction.
        valid: validation targets among them, of ``valid_all``.
        test: test targets among them, of ``test_all``.
    """

    items: int
    valid: int
    valid_all: int
    test: int
    test_all: int


@dataclass(frozen=True)
class Statistics:
    """Table 1 of the paper for one Dataset.

    Attributes:
        users: number of users.
        items: number of items.
        interactions: number of interactions, repeats included.
        density: interactions as a share of users times items. (The last column of the paper's
            table is ten times this: 1.6 % for Scientific, which is 0.16 %.)
        mean_length: interactions a user has on average.
        mean_item: interactions an item has on average.
        repeats: interactions of a user with an item that this user took before.
        lengths: users by length of sequence, from the shortest class that occurs to the longest.
        popularity: the curve of popularity: pairs of a share of the items (the most popular ones)
            and their share of all interactions.
        cold: items without training interactions.
    """

    users: int
    items: int
    interactions: int
    density: float
    mean_length: float
    mean_item: float
    repeats: int
    lengths: tuple[LengthClass, ...]
    popularity: tuple[tuple[float, float], ...]
    cold: Cold

    def as_dict(self) -> dict[str, Any]:
        """The figures of the table, by name: those that are one number."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int | float)}


def describe(dataset: Dataset) -> Statistics:
    """Count a Dataset."""
    lengths = np.diff(dataset.offsets)
    counts, _ = np.histogram(lengths, bins=[*_EDGES, np.inf])
    present = np.flatnonzero(counts)
    classes = []
    for index, (least, after) in enumerate(pairwise((*_EDGES, None))):
        if len(present) and present[0] <= index <= present[-1]:
            most = after - 1 if after is not None else None
            classes.append(LengthClass(least or 0, most, int(counts[index])))
    users, items, interactions = dataset.n_users, dataset.n_items, dataset.n_interactions
    repeats = dataset.manifest.counts.get("repeats")  # counted already, by preparation
    if type(repeats) is not int:
        owners = np.repeat(np.arange(users, dtype=np.int64), lengths)
        repeats = interactions - pl.Series(owners * items + dataset.sequences).n_unique()
    return Statistics(
        users=users,
        items=items,
        interactions=interactions,
        density=interactions / (users * items) if users and items else 0.0,
        mean_length=interactions / users if users else 0.0,
        mean_item=interactions / items if items else 0.0,
        repeats=repeats,
        lengths=tuple(classes),
        popularity=_popularity(dataset),
        cold=_cold(dataset),
    )


def _popularity(dataset: Dataset) -> tuple[tuple[float, float], ...]:
    counts = np.bincount(dataset.sequences, minlength=dataset.n_items)
    running = np.cumsum(np.sort(counts)[::-1])
    if not len(running) or not running[-1]:
        return ()
    firsts = [max(math.ceil(share * len(running)), 1) for share in _SHARES]
    return tuple(
        (share, float(running[first - 1] / running[-1]))
        for share, first in zip(_SHARES, firsts, strict=True)
    )


def _cold(dataset: Dataset) -> Cold:
    cold = dataset.training_counts() == 0
    splits: tuple[Literal["valid"], Literal["test"]] = ("valid", "test")
    valid, test = (dataset.sequences[dataset.examples(split).positions] for split in splits)
    return Cold(
        items=int(cold.sum()),
        valid=int(cold[valid].sum()),
        valid_all=len(valid),
        test=int(cold[test].sum()),
        test_all=len(test),
    )
