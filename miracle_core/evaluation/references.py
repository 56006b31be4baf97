"""Popularity and chance as references: they need no learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from miracle_core.data.dataset import Dataset, Split
from miracle_core.evaluation.metrics import DEFAULT_KS, UNRANKED, ranking_metrics
from miracle_core.ranking.order import tie_order
from miracle_core.ranking.seen import seen_pairs


@dataclass(frozen=True)
class Reference:
    """The metrics of a scorer that has the same scores for every user.

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
    leave_out: bool = False,
) -> dict[str, Reference]:
    """``popularity`` in the training part, and ``chance``.

    The same figures as the systems ``popularity`` and ``random`` (with seed 0) give, without a pass
    over users x items.

    Args:
        dataset: whose users.
        split: ``valid`` or ``test``.
        ks: cut-offs of the metrics.
        leave_out: leave a user's history out of the candidates.
    """
    order = np.random.default_rng(0).permutation(dataset.n_items)
    constants = {"popularity": dataset.training_counts(), "chance": order}
    found = {}
    for name, scores in constants.items():
        ranks = constant_ranks(scores, dataset, split, leave_out)
        found[name] = Reference(ranks, ranking_metrics(ranks, ks))
    return found


def constant_ranks(
    scores: npt.NDArray[np.int64], dataset: Dataset, split: Split, leave_out: bool = False
) -> npt.NDArray[np.int64]:
    """Ranks of the held-out items where every user has the same scores.

    The catalogue is sorted once. With ``leave_out``, a rank is less by the number of history items
    that stand before it.

    Args:
        scores: [items].
        dataset: whose users.
        split: ``valid`` or ``test``.
        leave_out: leave a user's history out of the candidates.

    Returns:
        int64 [users], from 1, in the order of ``dataset.examples(split)``; ``UNRANKED`` where the
        item itself is left out.
    """
    order = np.lexsort((tie_order(len(scores)).numpy(), -scores))
    rank_of = np.empty(len(order), dtype=np.int64)
    rank_of[order] = np.arange(1, len(order) + 1)
    examples = dataset.examples(split)
    targets = np.asarray(dataset.sequences[examples.positions], dtype=np.int64)
    ranks = rank_of[targets]
    if not leave_out:
        return ranks
    rows, seen = seen_pairs(dataset.sequences, dataset.offsets[examples.users], examples.positions)
    ahead = np.bincount(rows[rank_of[seen] < ranks[rows]], minlength=len(ranks))
    gone = np.bincount(rows[seen == targets[rows]], minlength=len(ranks)) > 0
    return np.where(gone, UNRANKED, ranks - ahead)
