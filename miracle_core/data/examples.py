"""Which interactions are trained on, validated and tested: the examples of each part of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from miracle_core.data.ragged import ragged
from miracle_core.errors import InputError

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """Histories with the item that came next, as positions in a Dataset's sequences.

    Example i is: given ``sequences[offsets[users[i]] : positions[i]]``, predict
    ``sequences[positions[i]]``.

    Attributes:
        users: int64 [examples], user indices.
        positions: int64 [examples], absolute positions of the targets in ``sequences``.
    """

    users: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)


def picked(every: Examples, positions: Positions) -> Examples:
    """Some of the examples, by the positions of their targets.

    Args:
        every: all examples there are.
        positions: int64 [examples], those to take, in the order wanted.

    Raises:
        InputError: there are none, or one is not among all or is there twice.
    """
    if not len(positions):
        raise InputError("names no example to learn from", where="examples")
    rising = every.positions.argsort()
    places = np.searchsorted(every.positions, positions, sorter=rising).clip(max=len(every) - 1)
    rows = rising[places]
    strange = np.flatnonzero(every.positions[rows] != positions)
    if len(strange):
        raise InputError(
            f"position {positions[strange[0]]} is not the target of a training example",
            where="examples",
            remedy='choose among dataset.examples("train")',
        )
    if len(np.unique(rows)) != len(rows):
        raise InputError("names an example twice", where="examples")
    return Examples(every.users[rows], every.positions[rows])


def leave_one_out(offsets: Positions) -> Positions:
    """Where each user's validation and test parts begin when the last two items are held out.

    A user with fewer than three items has neither part.

    Args:
        offsets: int64 [users + 1].

    Returns:
        int64 [users, 2], positions in the sequences.
    """
    starts, ends = offsets[:-1], offsets[1:]
    evaluated = (ends - starts >= 3)[:, None]
    cuts: Positions = ends[:, None] - np.where(evaluated, np.array([2, 1]), 0)
    return cuts


def windows(offsets: Positions, cuts: Positions, length: int | None) -> Examples:
    """The training sequences in windows, for systems that learn from every item of one.

    Each training example of :func:`split_examples` is a target in exactly one window: a window's
    targets are its last item, which ``positions`` names, and all its history's items but the first.

    Args:
        offsets: int64 [users + 1].
        cuts: int64 [users, 2], where validation and test begin.
        length: N, the newest items of a history that are read; None for whole sequences.
    """
    targets = np.maximum(cuts[:, 0] - offsets[:-1] - 1, 0)
    longest = max(int(targets.max(initial=0)), 1) if length is None else length
    counts = -(-targets // longest)
    users, number = ragged(np.zeros_like(counts), counts)
    return Examples(users, cuts[users, 0] - 1 - number * longest)


def split_examples(offsets: Positions, cuts: Positions, split: Split) -> Examples:
    """The examples of one part: the first item of validation and test, the others of training.

    Args:
        offsets: int64 [users + 1].
        cuts: int64 [users, 2], where validation and test begin.
        split: which part.
    """
    starts, ends = offsets[:-1], offsets[1:]
    valid, test = cuts[:, 0], cuts[:, 1]
    if split == "test":
        users = np.flatnonzero((starts < test) & (test < ends))
        return Examples(users, test[users])
    if split == "valid":
        users = np.flatnonzero((starts < valid) & (valid < test))
        return Examples(users, valid[users])
    counts = np.maximum(valid - starts - 1, 0)
    return Examples(*ragged(starts + 1, counts))
