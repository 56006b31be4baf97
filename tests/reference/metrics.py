"""Full-ranking metrics from plain sorted lists."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def ranking(scores: Sequence[float], tie_key: Sequence[float]) -> list[int]:
    """All items, best first. With equal scores, the smaller key comes first."""
    return sorted(range(len(scores)), key=lambda item: (-scores[item], tie_key[item]))


def rank_of(scores: Sequence[float], target: int, tie_key: Sequence[float]) -> int:
    """The target's rank among all items, 1 for the best."""
    return ranking(scores, tie_key).index(target) + 1


def recall_at(ranks: Sequence[int], k: int) -> float:
    """Share of users whose one target is among the first k."""
    return sum(1 for rank in ranks if rank <= k) / len(ranks)


def ndcg_at(ranks: Sequence[int], k: int) -> float:
    """Mean of 1 / log2(1 + rank) for targets among the first k, 0 otherwise."""
    return math.fsum(1.0 / math.log2(1 + rank) for rank in ranks if rank <= k) / len(ranks)


def mrr_at(ranks: Sequence[int], k: int) -> float:
    """Mean of 1 / rank for targets among the first k, 0 otherwise."""
    return math.fsum(1.0 / rank for rank in ranks if rank <= k) / len(ranks)
