"""Ranking metrics of leave-one-out evaluation: one relevant item a user."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

DEFAULT_KS = (10, 50)
# The rank of an item that is no candidate: beyond any K, even one above the catalogue's size.
UNRANKED = int(np.iinfo(np.int64).max)


def cut_offs(chosen: int | None) -> list[int]:
    """The cut-offs K of a validation: the usual ones, and K of the metric that chooses epochs."""
    return sorted({*DEFAULT_KS, *([] if chosen is None else [chosen])})


def user_metric(ranks: npt.NDArray[np.int64], metric: str) -> npt.NDArray[np.float64]:
    """One metric of each user.

    With one relevant item at rank r: Recall@K = [r <= K], NDCG@K = [r <= K] / log2(r + 1),
    MRR@K = [r <= K] / r.

    Args:
        ranks: int64 [..., users], the held-out item's rank from 1, or ``UNRANKED``.
        metric: ``recall@K``, ``ndcg@K`` or ``mrr@K``.

    Returns:
        float64 [..., users].

    Raises:
        ValueError: there is no such metric.
    """
    name, _, k = metric.partition("@")
    places = np.asarray(ranks, dtype=np.float64)
    hit: npt.NDArray[np.bool_] = places <= int(k)
    if name == "recall":
        return hit.astype(np.float64)
    if name == "ndcg":
        return np.asarray(hit / np.log2(places + 1))
    if name == "mrr":
        return hit / places
    raise ValueError(f"{name} is not a metric")


def ranking_metrics(
    ranks: npt.NDArray[np.int64], ks: Sequence[int] = DEFAULT_KS
) -> dict[str, float]:
    """Mean Recall, NDCG and MRR at each K (see :func:`user_metric`).

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
    names = [f"{name}@{k}" for name in ("recall", "ndcg", "mrr")]
    return {name: user_metric(ranks, name) for name in names}
