"""Metrics beyond accuracy, each compared with plain Python."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch

from miracle_core.data.packed import pack_lists
from miracle_core.evaluation.beyond import ABSENT, Beyond, beyond_accuracy, coverage, gini
from miracle_core.evaluation.evaluate_run import RunEvaluation, evaluate_run
from miracle_core.evaluation.slices import groups
from miracle_core.systems.scorer import VectorScorer

K = 10


@pytest.fixture(scope="module", params=["gain", "leave-out"])
def evaluation(small_run: Path, request: pytest.FixtureRequest) -> RunEvaluation:
    return evaluate_run(small_run, seen=request.param, keep_top=30)


@pytest.fixture(scope="module")
def found(evaluation: RunEvaluation) -> Beyond:
    return beyond_accuracy(evaluation, K)


def lists(evaluation: RunEvaluation) -> list[list[int]]:
    assert evaluation.found.top_items is not None
    return [[int(item) for item in row[:K]] for row in evaluation.found.top_items]


def histories(evaluation: RunEvaluation) -> list[list[int]]:
    data = evaluation.dataset
    return [[int(i) for i in data.sequence(int(u))[:-1]] for u in evaluation.found.users]


def trained(evaluation: RunEvaluation) -> list[int]:
    """How often each item occurs in the training part, counted one by one."""
    data = evaluation.dataset
    counts = [0] * data.n_items
    for user in range(data.n_users):
        own = [int(item) for item in data.sequence(user)]
        for item in own if len(own) < 3 else own[:-2]:
            counts[item] += 1
    return counts


def test_coverage_gini_and_novelty(evaluation: RunEvaluation, found: Beyond) -> None:
    listed = [item for row in lists(evaluation) for item in row]
    n = evaluation.dataset.n_items
    assert found.figures["coverage"] == pytest.approx(len(set(listed)) / n)
    times = [listed.count(item) for item in range(n)]
    # The Gini coefficient: half the mean absolute difference of all pairs, over the mean.
    apart = fmean(abs(a - b) for a in times for b in times)
    assert found.figures["gini"] == pytest.approx(apart / 2 / fmean(times))
    counts = trained(evaluation)
    whole = sum(counts) + n
    bits = [-math.log2((counts[item] + 1) / whole) for item in listed]
    assert found.figures["novelty"] == pytest.approx(fmean(bits))


def test_popularity_of_lists_and_histories(evaluation: RunEvaluation, found: Beyond) -> None:
    counts = trained(evaluation)

    def popularity(rows: list[list[int]]) -> float:
        return fmean(fmean(counts[item] for item in row) for row in rows)

    listed, had = popularity(lists(evaluation)), popularity(histories(evaluation))
    assert found.figures["popularity_listed"] == pytest.approx(listed)
    assert found.figures["popularity_history"] == pytest.approx(had)
    assert found.figures["popularity_lift"] == pytest.approx((listed - had) / had)


def test_diversity_of_texts(evaluation: RunEvaluation, found: Beyond) -> None:
    vectors = [[float(x) for x in row] for row in evaluation.dataset.features()]

    def cosine(a: list[float], b: list[float]) -> float:
        def dot(x: list[float], y: list[float]) -> float:
            return math.fsum(i * j for i, j in zip(x, y, strict=True))

        return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))

    expected = fmean(
        1 - fmean(cosine(vectors[a], vectors[b]) for a, b in combinations(row, 2))
        for row in lists(evaluation)
    )
    assert found.figures["text_diversity"] == pytest.approx(expected, abs=1e-5)


def test_interests_served(evaluation: RunEvaluation) -> None:
    scorer = evaluation.run.scorer()
    assert isinstance(scorer, VectorScorer)
    shares = []
    for history, row in zip(histories(evaluation), lists(evaluation), strict=True):
        own = scorer.interests(pack_lists([history], scorer.max_length or 99)).vectors
        won = {int(torch.argmax(own @ scorer.items[item])) for item in row[:2]}
        shares.append(len(won) / len(own))
    found = beyond_accuracy(evaluation, 2).figures["interests_served"]
    assert found == pytest.approx(fmean(shares), abs=1e-6)
    assert min(shares) < 1


def test_slices_hold_every_user_once(evaluation: RunEvaluation, found: Beyond) -> None:
    ranks = [int(rank) for rank in evaluation.found.ranks]
    lengths = [len(history) for history in histories(evaluation)]
    counts = trained(evaluation)
    popularity = [counts[int(item)] for item in evaluation.found.targets]
    for name, numbers in (("history_length", lengths), ("target_popularity", popularity)):
        assert sum(each.users for each in found.slices[name]) == len(ranks)
        assert len(found.slices[name]) > 1
        for each in found.slices[name]:
            least, _, most = each.label.partition("-")
            own = [
                rank
                for rank, number in zip(ranks, numbers, strict=True)
                if int(least) <= number <= int(most or least)
            ]
            assert len(own) == each.users
            assert each.metrics["recall@10"] == pytest.approx(fmean(r <= 10 for r in own))
            gains = [1 / math.log2(r + 1) if r <= 10 else 0 for r in own]
            assert each.metrics["ndcg@10"] == pytest.approx(fmean(gains))


def test_lists_with_empty_places() -> None:
    top = np.array([[0, 1, ABSENT], [1, ABSENT, ABSENT]])
    assert coverage(top, 4) == 0.5
    assert gini(top, 4) == pytest.approx(7 / 12)  # 0, 0, 1 and 2 of 3 list entries


def test_groups_keep_equal_numbers_together() -> None:
    found = groups(np.array([1] * 90 + [2] * 5 + [9] * 5))
    assert [(g.label, len(g.members)) for g in found] == [("1", 90), ("2-9", 10)]
    even = groups(np.arange(100))
    assert [(g.least, g.most) for g in even] == [(0, 24), (25, 49), (50, 74), (75, 99)]
    assert [g.label for g in groups(np.array([7]))] == ["7"]


def test_users_of_zero_may_stand_alone() -> None:
    numbers = np.array([3, 0, 1, 2, 4, 0])
    found = groups(numbers, zero_apart=True)
    assert [(g.label, g.members.tolist()) for g in found] == [
        ("0", [1, 5]), ("1", [2]), ("2", [3]), ("3", [0]), ("4", [4]),
    ]  # fmt: skip
    # If all or none are 0, there are no two groups to compare.
    for each in (np.zeros(4, dtype=np.int64), np.array([1, 2, 3])):
        assert [g.label for g in groups(each, zero_apart=True)] == [g.label for g in groups(each)]
