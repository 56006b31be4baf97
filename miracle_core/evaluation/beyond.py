"""Qualities of lists beyond accuracy: coverage, concentration, novelty, diversity, popularity.

All figures are of each user's best ``k`` items. Popularity is how often an item occurs in the
training part. Users for whom a figure can't be computed are left out of its mean. A figure without
any user is left out altogether.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from miracle_core.data.packed import pack
from miracle_core.data.ragged import ragged
from miracle_core.evaluation.evaluate import BATCH_USERS, Evaluation
from miracle_core.evaluation.evaluate_run import RunEvaluation
from miracle_core.evaluation.slices import Slice, sliced
from miracle_core.ranking.interests import Interests, group_slices
from miracle_core.systems.scorer import VectorScorer

BEYOND_K = 10
ABSENT = -1  # a place of a list with no item: fewer candidates than places


@dataclass(frozen=True)
class Beyond:
    """Figures of the lists, and metrics of groups of users.

    Attributes:
        k: the length of the lists.
        figures: by name.
        slices: by ``history_length`` and ``target_popularity``.
    """

    k: int
    figures: dict[str, float]
    slices: dict[str, list[Slice]]

    def summary(self) -> dict[str, Any]:
        """The JSON contract of ``miracle evaluate --beyond``."""
        slices = {name: [each.summary() for each in own] for name, own in self.slices.items()}
        return {"k": self.k, **self.figures, "slices": slices}


def beyond_accuracy(evaluation: RunEvaluation, k: int = BEYOND_K) -> Beyond:
    """All figures of an evaluation.

    Args:
        evaluation: with at least ``k`` best items kept, or all there are.
        k: the length of the lists.

    Raises:
        ValueError: the evaluation kept fewer items.
    """
    found, dataset = evaluation.found, evaluation.dataset
    k = min(k, found.n_items)
    top = top_lists(found, k)
    counts = dataset.training_counts()
    examples = dataset.examples(found.split)
    starts = dataset.offsets[:-1][found.users]
    ends = np.empty(dataset.n_users, dtype=np.int64)
    ends[examples.users] = examples.positions
    lengths = ends[found.users] - starts
    rows, places = ragged(starts, lengths)
    had = np.asarray(counts[dataset.sequences[places]], dtype=np.float64)
    figures: dict[str, float] = {
        "coverage": coverage(top, found.n_items),
        "gini": gini(top, found.n_items),
        "novelty": novelty(top, counts),
        **popularity_bias(top, counts, rows, had),
    }
    encoder = evaluation.run.encoder
    if encoder is None and len(dataset.manifest.features) == 1:
        encoder = dataset.feature_set().encoder.name
    if encoder is not None and k > 1:
        figures["text_diversity"] = diversity(top, dataset.features(encoder))
    scorer = evaluation.run.scorer(gain=evaluation.seen != "as-printed")
    if found.several and isinstance(scorer, VectorScorer):
        figures["interests_served"] = interests_served(
            scorer, dataset.sequences, starts, starts + lengths, top
        )
    metrics = [f"recall@{k}", f"ndcg@{k}"]
    return Beyond(
        k,
        figures,
        {
            "history_length": sliced(found.ranks, lengths, metrics),
            "target_popularity": sliced(
                found.ranks, counts[found.targets], metrics, zero_apart=True
            ),
        },
    )


def top_lists(found: Evaluation, k: int) -> npt.NDArray[np.int64]:
    """The best items, int64 [users, k], ``ABSENT`` where a user has fewer candidates.

    Raises:
        ValueError: the evaluation kept fewer than ``k`` items a user.
    """
    if found.top_items is None or found.top_scores is None or found.top_items.shape[1] < k:
        raise ValueError(f"this evaluation kept fewer than {k} items a user")
    return np.where(np.isfinite(found.top_scores[:, :k]), found.top_items[:, :k], ABSENT)


def coverage(top: npt.NDArray[np.int64], n_items: int) -> float:
    """The share of the catalogue that is in anybody's list."""
    return len(np.unique(top[top != ABSENT])) / n_items


def gini(top: npt.NDArray[np.int64], n_items: int) -> float:
    """The Gini coefficient of how often items are listed: 0 all equally, near 1 only a few.

    sum_i (2 i - n - 1) c_i / (n sum_i c_i), where c_1 <= ... <= c_n says how often each item is
    listed.
    """
    listed = np.sort(np.bincount(top[top != ABSENT], minlength=n_items))
    weights = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(weights @ listed / (n_items * listed.sum()))


def novelty(top: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> float:
    """Mean self-information of the listed items, in bits: -log2 of an item's share of training.

    One is added to each count; otherwise an item without training interactions would be infinitely
    novel.

    Args:
        top: int64 [users, k].
        counts: int64 [items], training interactions.
    """
    bits = -np.log2((counts + 1) / (counts.sum() + len(counts)))
    return float(bits[top[top != ABSENT]].mean())


def popularity_bias(
    top: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    had: npt.NDArray[np.float64],
) -> dict[str, float]:
    """Mean popularity of lists against that of histories (Abdollahpouri et al., 2019).

    Args:
        top: int64 [users, k].
        counts: int64 [items].
        rows: int64 [history items], the user of each.
        had: [history items], the popularity of each.

    Returns:
        Means over users of their items' mean popularity: ``popularity_listed``, of all users with a
        list; ``popularity_history``, of all with a history; ``popularity_lift``: listed / history
        - 1, where histories have any popularity.
    """
    there = top != ABSENT
    sums = np.where(there, counts[np.where(there, top, 0)], 0).sum(1)
    own = there.sum(1)
    listed = float((sums[own > 0] / own[own > 0]).mean())
    lengths = np.bincount(rows, minlength=len(top))
    totals = np.bincount(rows, had, minlength=len(top))
    history = float((totals[lengths > 0] / lengths[lengths > 0]).mean())
    figures = {"popularity_listed": listed, "popularity_history": history}
    return figures | ({"popularity_lift": listed / history - 1} if history else {})


def diversity(top: npt.NDArray[np.int64], vectors: npt.NDArray[np.floating[Any]]) -> float:
    """How unlike each other the texts of a list are: 1 - the mean cosine of its pairs of items.

    Args:
        top: int64 [users, k], k > 1; users with fewer than two items don't count.
        vectors: [items, width], of their texts; a text of no words has the cosine 0 with any other.

    Returns:
        The mean over users.
    """
    unit = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    unit = np.divide(unit, norms, out=np.zeros_like(unit), where=norms > 0)
    found = []
    for start in range(0, len(top), BATCH_USERS):
        part = top[start : start + BATCH_USERS]
        there = part != ABSENT
        lists = unit[np.where(there, part, 0)] * there[:, :, None]
        total = np.square(lists.sum(1)).sum(1) - np.square(lists).sum((1, 2))
        n = there.sum(1)
        pairs = n * (n - 1)
        found.append(1 - total[pairs > 0] / pairs[pairs > 0])
    return float(np.concatenate(found).mean())


@torch.inference_mode()
def interests_served(
    scorer: VectorScorer,
    sequences: npt.NDArray[np.integer[Any]],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    top: npt.NDArray[np.int64],
) -> float:
    """The share of a user's interests that win an item of the list; the mean over users.

    The interest with the highest inner product wins an item (eq. 17).

    Args:
        scorer: what made the lists.
        sequences: int [interactions].
        starts: int64 [users], where their histories begin.
        ends: int64 [users], where they end.
        top: int64 [users, k].
    """
    shares = []
    for start in range(0, len(top), BATCH_USERS):
        part = slice(start, start + BATCH_USERS)
        packed = pack(sequences, starts[part], ends[part], scorer.max_length)
        interests = scorer.interests(packed)
        lists = torch.from_numpy(top[part][packed.order.numpy()]).to(interests.vectors.device)
        shares.append(_served(interests, lists, scorer.items))
    return float(torch.cat(shares).mean())


def _served(interests: Interests, lists: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """The share of each user's interests that win an item, [users] as ``interests.users``."""
    shares = []
    for each, rows, users in group_slices(interests.groups):
        vectors = interests.vectors[rows].unflatten(0, (-1, each))
        own = lists[interests.users[users]]
        scores = vectors @ items[own.clamp_min(0)].transpose(1, 2)  # [users, each, k]
        winners = torch.nn.functional.one_hot(scores.argmax(1), each).bool()
        won = (winners & (own != ABSENT).unsqueeze(2)).any(1)
        shares.append(won.float().mean(1))
    return torch.cat(shares)
