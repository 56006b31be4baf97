"""What needs no learning: popularity and chance, to stand beside a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from miracle_core.data.dataset import Dataset, Split
from miracle_core.evaluation.metrics import DEFAULT_KS, UNRANKED, ranking_metrics
from miracle_core.evaluation.scorers import chance, popularity
from miracle_core.model.retrieval import tie_order


@dataclass(frozen=True)
class Reference:
    """What a scorer that knows nothing of the users reaches.

    Attributes:
        ranks: int64 [users], the held-out items' ranks, as in ``Evaluation``.
        metrics: means over the users.
    """

    ranks: npt.NDArray[np.int64]
    metrics: dict[str, float]


def references(
    dataset: Dataset,
    split: Split = "test",
    *,
    ks: Sequence[int] = DEFAULT_KS,
    exclude_seen: bool = False,
) -> dict[str, Reference]:
    """``popularity`` in the training part, and ``chance``.

    The same figures as :func:`~miracle_core.evaluation.evaluate.evaluate` gives for these scorers,
    without a pass over users x items.
    """
    scorers = {"popularity": popularity(dataset), "chance": chance(dataset)}
    found = {}
    for name, scorer in scorers.items():
        ranks = constant_ranks(scorer.items().squeeze(1), dataset, split, exclude_seen)
        found[name] = Reference(ranks, ranking_metrics(ranks, ks))
    return found


def constant_ranks(
    scores: torch.Tensor, dataset: Dataset, split: Split, exclude_seen: bool = False
) -> npt.NDArray[np.int64]:
    """Ranks of the held-out items where every user has the same scores.

    The catalogue is sorted once; what a user's own history takes out of it is counted.

    Args:
        scores: [items].
        dataset: whose users.
        split: ``valid`` or ``test``.
        exclude_seen: leave a user's history out of the candidates.

    Returns:
        int64 [users], from 1, in the order of ``dataset.examples(split)``.
    """
    order = np.lexsort((tie_order(len(scores)).numpy(), -scores.numpy()))
    rank_of = np.empty(len(order), dtype=np.int64)
    rank_of[order] = np.arange(1, len(order) + 1)
    examples = dataset.examples(split)
    targets = np.asarray(dataset.sequences[examples.positions], dtype=np.int64)
    ranks = rank_of[targets]
    if not exclude_seen:
        return ranks
    starts = dataset.offsets[examples.users]
    lengths = examples.positions - starts
    rows = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    seen = np.asarray(dataset.sequences[np.repeat(starts, lengths) + within], dtype=np.int64)
    once = np.unique(rows * len(order) + seen)  # an item may be in a history twice
    rows, seen = np.divmod(once, len(order))
    ahead = np.bincount(rows[rank_of[seen] < ranks[rows]], minlength=len(ranks))
    gone = np.bincount(rows[seen == targets[rows]], minlength=len(ranks)) > 0
    return np.where(gone, UNRANKED, ranks - ahead)
