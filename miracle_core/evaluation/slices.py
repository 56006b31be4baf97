"""Users in groups of about equal size, by a number of each user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from miracle_core.evaluation.metrics import user_metric

GROUPS = 4  # at most; equal numbers are never in two groups


@dataclass(frozen=True)
class Group:
    """Users whose number is from ``least`` to ``most``.

    Attributes:
        least: the lowest number of any of them.
        most: the highest.
        members: int64, which users.
    """

    least: int
    most: int
    members: npt.NDArray[np.int64]

    @property
    def label(self) -> str:
        """The range in words."""
        return f"{self.least}" if self.least == self.most else f"{self.least}-{self.most}"


@dataclass(frozen=True)
class Slice:
    """The metrics of a group of users.

    Attributes:
        label: the group's range in words.
        users: how many users it has.
        metrics: means over them, by name.
    """

    label: str
    users: int
    metrics: dict[str, float]

    def summary(self) -> dict[str, object]:
        """As JSON."""
        return {"label": self.label, "users": self.users, "metrics": self.metrics}


def groups(
    numbers: npt.NDArray[np.int64], at_most: int = GROUPS, *, zero_apart: bool = False
) -> list[Group]:
    """Cut users at the quantiles of their numbers; users of equal numbers stay together.

    Args:
        numbers: int64 [users], at least one.
        at_most: how many groups; fewer where many users have the same number.
        zero_apart: make one more group, before the others, of the users whose number is 0.
    """
    zeros = np.flatnonzero(numbers == 0)
    if zero_apart and 0 < len(zeros) < len(numbers):
        others = np.flatnonzero(numbers != 0)
        rest = [
            Group(own.least, own.most, others[own.members])
            for own in groups(numbers[others], at_most)
        ]
        return [Group(0, 0, zeros), *rest]
    steps = np.arange(1, at_most) / at_most
    # A group ends with the number at the quantile.
    ends = np.unique(np.quantile(numbers, steps, method="inverted_cdf"))
    which = np.searchsorted(ends, numbers, side="left")
    found = []
    for group in np.unique(which):
        members = np.flatnonzero(which == group)
        own = numbers[members]
        found.append(Group(int(own.min()), int(own.max()), members))
    return found


def sliced(
    ranks: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    metrics: list[str],
    *,
    zero_apart: bool = False,
) -> list[Slice]:
    """Mean metrics of each group.

    Args:
        ranks: int64 [users].
        numbers: int64 [users], what they are grouped by.
        metrics: which, e.g. ``ndcg@10``.
        zero_apart: as in :func:`groups`.
    """
    return [
        Slice(
            group.label,
            len(group.members),
            {name: float(user_metric(ranks[group.members], name).mean()) for name in metrics},
        )
        for group in groups(numbers, zero_apart=zero_apart)
    ]
