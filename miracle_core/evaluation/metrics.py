"""Ranking metrics of leave-one-out evaluation: one relevant item a user."""

from __future__ import annotations

from collections.abc import Sequence

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
    return {
        name: float(values.mean()) for k in ks for name, values in user_metrics(ranks, k).items()
    }


def user_metrics(ranks: npt.NDArray[np.int64], k: int) -> dict[str, npt.NDArray[np.float64]]:
    """Recall, NDCG and MRR at K of each user, float64 [users], by ``recall@K`` and so on.

    Args:
        ranks: int64 [users], as in :func:`ranking_metrics`.
        k: the cut-off.
    """
    places = np.asarray(ranks, dtype=np.float64)
    hit: npt.NDArray[np.float64] = (places <= k).astype(np.float64)
    return {
        f"recall@{k}": hit,
        f"ndcg@{k}": hit / np.log2(places + 1),
        f"mrr@{k}": hit / places,
    }
