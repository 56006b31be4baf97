"""How well capsules recover the planted interests of a generated shop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.metrics.cluster import pair_confusion_matrix

from miracle_core.errors import InputError


@dataclass(frozen=True)
class Recovery:
    """The figures of :func:`recovery`.

    Attributes:
        items: how many items were compared.
        adjusted_mutual_information: of capsules and interests; 1 for equal partitions, 0 on
            average for chance. Capsules finer than the interests cost less than wrong ones.
        same_interest: probability that two different items of one interest share a capsule; NaN
            when no interest has two items.
        different_interest: probability that two items of different interests share a capsule; NaN
            when there is only one interest.
    """

    items: int
    adjusted_mutual_information: float
    same_interest: float
    different_interest: float


def recovery(item_capsule: Sequence[int], item_interest: Sequence[int | str]) -> Recovery:
    """Compare each item's capsule with its planted interest.

    Args:
        item_capsule: one capsule an item.
        item_interest: the same items' interests, by number or by name.

    Raises:
        InputError: no items, or not as many capsules as interests.
    """
    if len(item_capsule) != len(item_interest) or not len(item_capsule):
        raise InputError(
            f"{len(item_capsule)} capsules can't be compared with {len(item_interest)} interests",
            where="recovery",
            remedy="give one of each for every item",
        )
    interest = np.unique(np.asarray(item_interest), return_inverse=True)[1]
    capsule = np.asarray(item_capsule)
    # Rows: different or same interest. Columns: different or same capsule. Ordered pairs.
    pairs = pair_confusion_matrix(interest, capsule).astype(np.float64)
    totals = pairs.sum(axis=1)
    shared = [
        float(row[1] / total) if total else float("nan")
        for row, total in zip(pairs, totals, strict=True)
    ]
    return Recovery(
        items=len(capsule),
        adjusted_mutual_information=float(adjusted_mutual_info_score(interest, capsule)),
        same_interest=shared[1],
        different_interest=shared[0],
    )
