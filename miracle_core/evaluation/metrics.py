"""Ranking metrics of leave-one-out evaluation: one relevant item a user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

DEFAULT_KS = (10, 50)
# The rank of an item that is no candidate: beyond any K, even one above the catalogue's size.
UNRANKED = int(np.iinfo(np.int64).max)


def ranking_metrics(
    ranks: npt.NDArray[np.int64], ks: Sequence[int] = DEFAULT_KS
) -> dict[str, float]:
    """Mean Recall, NDCG and MRR at each K.

    With one relevant item at rank r: Recall@K = [r <= K], NDCG@K = [r <= K] / log2(r + 1),
    MRR@K = [r <= K] / r.

    Args:
        ranks: int64 [users], the held-out item's rank from 1, or ``UNRANKED``.
        ks: the cut-offs.

    Returns:
        ``recall@K``, ``ndcg@K``, ``mrr@K`` for each K.
    """
    ranks = np.asarray(ranks, dtype=np.float64)
    metrics: dict[str, float] = {}
    for k in ks:
        hit: npt.NDArray[Any] = ranks <= k
        metrics[f"recall@{k}"] = float(hit.mean())
        metrics[f"ndcg@{k}"] = float((hit / np.log2(ranks + 1)).mean())
        metrics[f"mrr@{k}"] = float((hit / ranks).mean())
    return metrics
