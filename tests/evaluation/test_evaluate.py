"""Evaluation compared with sorted lists: splits, ties, exclusion, batches and top items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch

from miracle_core.data.dataset import Dataset
from miracle_core.data.writing import write_dataset
from miracle_core.errors import InputError
from miracle_core.evaluation import evaluate as evaluate_module
from miracle_core.evaluation import metrics as metrics_module
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.evaluation.metrics import ranking_metrics
from miracle_core.ranking.order import tie_order
from miracle_core.ranking.seen import Seen
from miracle_core.ranking.walk import walk
from miracle_core.systems.scorer import Scores
from tests.reference import metrics
from tests.support.scorers import constant, fitted
from tests.systems.miracle.support import interests_of

if TYPE_CHECKING:
    from pathlib import Path

    from miracle_core.data.packed import Packed
    from miracle_core.ranking.interests import Interests

ITEMS, MAX_LENGTH, KS = 30, 4, (1, 5, 10)


def dataset_of(folder: Path, histories: list[list[int]], n_items: int = ITEMS) -> Dataset:
    names = [f"item {i}" for i in range(n_items)]
    return write_dataset(
        folder,
        name="tiny",
        items=pl.DataFrame(
            {"item_id": names, "title": names, "text": names, "domain": ["d"] * n_items}
        ),
        user_ids=[str(u) for u in range(len(histories))],
        sequences=np.array([i for history in histories for i in history], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
        sources=[],
        settings={},
        counts={},
    )


def random_histories(seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    lengths = [1, 2, 3, 3, *rng.integers(3, 9, 20).tolist()]
    return [rng.integers(0, ITEMS, length).tolist() for length in lengths]


class LikeTheHistory:
    """The interests are the history's item vectors, in whole numbers, so scores are exact."""

    max_length = MAX_LENGTH
    n_interests = ITEMS
    capsules = True
    padded = False

    def __init__(self, gain: float | None = None) -> None:
        self.gain = gain

    vectors = np.random.default_rng(1).integers(-2, 3, (ITEMS, 3)).astype(float)

    def interests(self, packed: Packed) -> Interests:
        lengths = [length for length, count in packed.groups for _ in range(count)]
        parts = packed.items.split(lengths)
        return interests_of([{int(i): self.vectors[i] for i in part} for part in parts])

    def scores(self, packed: Packed, leave_out: Seen | None = None) -> Scores:
        interests, gained = self.interests(packed), None
        if self.gain is not None:
            gain = torch.tensor(self.gain, dtype=torch.float64)
            gained = Seen.of(interests, packed, gain)
        if leave_out is not None:
            leave_out = leave_out.ordered(interests.users)
        parts = walk(interests, torch.from_numpy(self.vectors), gained, leave_out)
        return Scores(interests, ((interests.users[p.users], p.scores) for p in parts))

    def plainly(self, history: list[int]) -> list[float]:
        read = history[-MAX_LENGTH:]
        scores = [float(max(self.vectors[read] @ x)) for x in self.vectors]
        for item in set(read):
            scores[item] += self.gain or 0.0
        return scores


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("leave_out", [False, True])
@pytest.mark.parametrize("batch_users", [3, 2048])
@pytest.mark.parametrize("gain", [None, -3.0, 2.0])
def test_equals_plain_sorting(tmp_path, monkeypatch, split, leave_out, batch_users, gain):
    monkeypatch.setattr(evaluate_module, "BATCH_USERS", batch_users)
    histories, scorer, key = random_histories(), LikeTheHistory(gain), tie_order(ITEMS).tolist()
    found = evaluate(
        scorer,
        dataset_of(tmp_path / "d", histories),
        split,
        ks=KS,
        leave_out=leave_out,
        keep_top=7,
    )
    assert found.users.tolist() == [u for u, own in enumerate(histories) if len(own) >= 3]
    ranks = []
    for row, user in enumerate(found.users.tolist()):
        own = histories[user] if split == "test" else histories[user][:-1]
        history, target = own[:-1], own[-1]
        scores = scorer.plainly(history)
        if leave_out:
            scores = [-np.inf if i in history else score for i, score in enumerate(scores)]
        rank = metrics.rank_of(scores, target, key)
        ranks.append(metrics_module.UNRANKED if leave_out and target in history else rank)
        best = metrics.ranking(scores, key)[:7]
        assert found.targets[row] == target
        assert found.top_items[row].tolist() == best
        assert found.top_scores[row].tolist() == [scores[item] for item in best]
        assert found.active[row] == len(set(history[-MAX_LENGTH:]))
    assert found.ranks.tolist() == ranks
    for k in KS:
        assert found.metrics[f"recall@{k}"] == pytest.approx(metrics.recall_at(ranks, k), abs=1e-9)
        assert found.metrics[f"ndcg@{k}"] == pytest.approx(metrics.ndcg_at(ranks, k), abs=1e-9)
        assert found.metrics[f"mrr@{k}"] == pytest.approx(metrics.mrr_at(ranks, k), abs=1e-9)


def test_the_kept_top_items_give_the_same_metrics(tmp_path):
    found = evaluate(
        LikeTheHistory(), dataset_of(tmp_path / "d", random_histories(3)), ks=KS, keep_top=10
    )
    places = [
        row.tolist().index(target) + 1 if target in row else 99
        for row, target in zip(found.top_items, found.targets, strict=True)
    ]
    for k in KS:
        assert found.metrics[f"recall@{k}"] == pytest.approx(metrics.recall_at(places, k))
        assert found.metrics[f"ndcg@{k}"] == pytest.approx(metrics.ndcg_at(places, k))
        assert found.metrics[f"mrr@{k}"] == pytest.approx(metrics.mrr_at(places, k))


def test_users_that_use_each_capsule_are_counted(tmp_path):
    histories = [[0, 1, 2], [0, 0, 3], [1, 1, 1, 2]]
    found = evaluate(LikeTheHistory(), dataset_of(tmp_path / "d", histories))
    assert found.capsule_users[:2].tolist() == [2, 2]
    assert not found.capsule_users[2:].any()
    assert found.summary()["active_capsules"] == {"mean": pytest.approx(4 / 3), "in_use": 2}


def test_popularity_counts_the_training_part_only(tmp_path):
    histories = [[5, 5, 5, 1, 2], [5, 4, 1, 2], [3, 4]]
    data = dataset_of(tmp_path / "d", histories)
    counts = fitted("popularity", data).items.squeeze(1).tolist()
    assert {i: int(c) for i, c in enumerate(counts) if c} == {5: 4, 4: 2, 3: 1}
    ranks = evaluate(fitted("popularity", data), data).ranks.tolist()
    key = tie_order(ITEMS).tolist()
    assert ranks == [metrics.rank_of(counts, 2, key)] * 2


def test_a_constant_scorer_ranks_as_chance(tmp_path):
    """The ranks of all possible targets are 1 to the number of items, whatever their index."""
    histories = [[0, 1, target] for target in range(ITEMS)]
    data = dataset_of(tmp_path / "d", histories)
    flat = evaluate(constant(torch.zeros(ITEMS)), data)
    assert sorted(flat.ranks.tolist()) == list(range(1, ITEMS + 1))
    order = evaluate(fitted("random", data), data)
    assert sorted(order.ranks.tolist()) == list(range(1, ITEMS + 1))


def test_nobody_to_evaluate(tmp_path):
    data = dataset_of(tmp_path / "d", [[0, 1], [2]])
    with pytest.raises(InputError, match="three interactions"):
        evaluate(LikeTheHistory(), data)


def test_metrics_of_ranks():
    ranks = np.random.default_rng(0).integers(1, 80, 200)
    found = ranking_metrics(ranks, (1, 10, 50))
    for k in (1, 10, 50):
        assert found[f"recall@{k}"] == pytest.approx(metrics.recall_at(ranks, k), abs=1e-12)
        assert found[f"ndcg@{k}"] == pytest.approx(metrics.ndcg_at(ranks, k), abs=1e-12)
        assert found[f"mrr@{k}"] == pytest.approx(metrics.mrr_at(ranks, k), abs=1e-12)
    assert len(found) == 9
