"""A split by time: one moment for all users, and nothing after it can be seen before it.

    training      everything before ``valid_from``
    validation    a user's first interaction from ``valid_from`` on and before ``test_from``
    test          a user's first interaction from ``test_from`` on

The history of a target is all that the user did before the moment at which its part begins. What
a user does after the test target is left out. Users and items are filtered by the training part
alone, so that later interactions can't decide which of them stay. An item that is first seen later
is new: it stays in the catalogue, and is never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from miracle_core.data.filters import Log

VALID_SHARE = 0.8  # of all interactions, in order of time, lie before the validation part
TEST_SHARE = 0.9


@dataclass(frozen=True)
class Moments:
    """When validation and test begin, in the unit of the times."""

    valid: int | float
    test: int | float


def default_moment(time: npt.NDArray[Any], share: float) -> int | float:
    """The time before which at least a share of all interactions lie, or as near as ties allow."""
    at = int(len(time) * share)
    found: int | float = np.partition(time, at)[at].item()
    return found


def later_parts(training: Log, later: Log, seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which interactions after the training part may be used.

    Args:
        training: what is left of the training part.
        later: everything after it.
        seen: bool [items], those that occurred in the training part before anything was left out.

    Returns:
        bool [later]: the user is left in the training part, and the item is, too, or is new.
    """
    most = max(int(training.users.max()), int(later.users.max(initial=0)))
    users = np.zeros(most + 1, dtype=bool)
    users[training.users] = True
    items = np.zeros(len(seen), dtype=bool)
    items[training.items] = True
    return users[later.users] & (items | ~seen)[later.items]


def first_of_test(log: Log, test_from: int | float) -> npt.NDArray[np.bool_]:
    """Which interactions stay, bool [n]: all before the test part, and each user's first in it."""
    order = log.order()
    users, in_test = log.users[order], log.time[order] >= test_from
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (users[1:] == users[:-1]) & in_test[:-1]
    keep = np.empty(len(order), dtype=bool)
    keep[order] = ~(in_test & same)
    return keep


def cuts(
    time: npt.NDArray[Any], offsets: npt.NDArray[np.int64], moments: Moments
) -> npt.NDArray[np.int64]:
    """Where each user's validation and test parts begin, int64 [users, 2], as positions.

    Args:
        time: [n], in order within each user.
        offsets: int64 [users + 1].
        moments: when the parts begin.
    """
    found = np.empty((len(offsets) - 1, 2), dtype=np.int64)
    for column, moment in enumerate((moments.valid, moments.test)):
        before = np.concatenate([[0], np.cumsum(time < moment)])
        found[:, column] = offsets[:-1] + before[offsets[1:]] - before[offsets[:-1]]
    return found
