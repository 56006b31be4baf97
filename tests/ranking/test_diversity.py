"""Controllable aggregation compared with the greedy selection that defines it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from miracle_core.ranking.diversity import diversified, marginal_relevance
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.walk import best_items

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


def greedy(scores: list[float], categories: list[int], k: int, weight: float) -> list[int]:
    """Algorithm 2, one item at a time."""
    chosen: list[int] = []
    for _ in range(k):
        best, value = -1, -math.inf
        for place, score in enumerate(scores):
            gain = score + weight * sum(categories[place] != categories[j] for j in chosen)
            if place not in chosen and (best < 0 or gain > value):
                best, value = place, gain
        chosen.append(best)
    return chosen


@SETTINGS
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    labels=st.integers(1, 4),
    weight=st.sampled_from([0.0, 0.25, 1.0, 100.0]),
    gone=st.integers(0, 3),
    data=st.data(),
)
def test_it_is_the_greedy_choice(seed, n, labels, weight, gone, data):
    k = data.draw(st.integers(1, n))
    rng = np.random.default_rng(seed)
    # Use quarters, so that sums are exact and ties occur.
    scores = -np.sort(-rng.integers(-8, 9, (5, n)) / 4, axis=1)
    scores[:, n - min(gone, n) :] = -np.inf
    items = np.stack([rng.permutation(20)[:n] for _ in range(5)])
    categories = rng.integers(-1, labels, 20)
    found_scores, found = diversified(
        torch.from_numpy(scores), torch.from_numpy(items), torch.from_numpy(categories), k, weight
    )
    for user in range(5):
        places = greedy(scores[user].tolist(), categories[items[user]].tolist(), k, weight)
        assert found[user].tolist() == items[user, places].tolist()
        assert found_scores[user].tolist() == scores[user, places].tolist()


def test_a_large_weight_takes_one_of_each_category_first():
    scores = torch.tensor([[9.0, 8.0, 7.0, 6.0, 5.0, 4.0]])
    items = torch.tensor([[3, 1, 4, 0, 5, 2]])
    categories = torch.tensor([7, 7, 9, 7, 7, 8])
    _, found = diversified(scores, items, categories, 4, 1000.0)
    assert found.tolist() == [[3, 5, 2, 1]]
    _, as_it_was = diversified(scores, items, categories, 6, 0.0)
    assert as_it_was.tolist() == items.tolist()


def test_two_of_any_set_are_the_best_two_that_start_with_the_best():
    """For two items, the greedy choice is the best pair that contains the best item."""
    rng = np.random.default_rng(5)
    scores = -np.sort(-rng.normal(size=9))
    categories = rng.integers(0, 3, 9)

    def worth(pair: tuple[int, int]) -> float:
        return float(scores[list(pair)].sum() + (categories[pair[0]] != categories[pair[1]]))

    _, found = diversified(
        torch.from_numpy(scores)[None], torch.arange(9)[None], torch.from_numpy(categories), 2, 1.0
    )
    best = max((pair for pair in itertools.combinations(range(9), 2) if 0 in pair), key=worth)
    assert found[0].tolist() == list(best)


def test_it_takes_what_several_interests_lead_to():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    items = torch.tensor([[5.0, 0.0], [4.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    users = torch.zeros(1, dtype=torch.int64)
    interests = Interests(vectors, torch.arange(2), users, ((2, 1),))
    found = diversified(*best_items(interests, items, 4), torch.tensor([1, 1, 1, 2]), 2, 10.0)
    assert found[1].tolist() == [[0, 3]]


@pytest.mark.parametrize(("k", "weight"), [(0, 1.0), (3, 1.0), (2, -1.0), (2, math.nan)])
def test_what_can_not_be_is_refused(k, weight):
    scores, items = torch.zeros(1, 2), torch.tensor([[0, 1]])
    with pytest.raises(ValueError, match=r"k is|weight is"):
        diversified(scores, items, torch.zeros(2, dtype=torch.int64), k, weight)


def relevant(scores: list[float], vectors: np.ndarray, k: int, weight: float) -> list[int]:
    """Carbonell and Goldstein's selection (MMR), one item at a time."""
    chosen: list[int] = []
    for _ in range(k):
        best, value = -1, -math.inf
        for place, score in enumerate(scores):
            near = max((float(vectors[place] @ vectors[j]) for j in chosen), default=0.0)
            worth = -math.inf if score == -math.inf else (1 - weight) * score - weight * near
            if place not in chosen and (best < 0 or worth > value):
                best, value = place, worth
        chosen.append(best)
    return chosen


@SETTINGS
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    weight=st.sampled_from([0.0, 0.25, 0.75, 1.0]),
    gone=st.integers(0, 3),
    data=st.data(),
)
def test_marginal_relevance_is_the_greedy_choice(seed, n, weight, gone, data):
    k = data.draw(st.integers(1, n))
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.integers(-8, 9, (5, n)) / 4, axis=1)
    scores[:, n - min(gone, n) :] = -np.inf
    items = np.stack([rng.permutation(20)[:n] for _ in range(5)])
    # Use directions with exact products, so that ties are exact.
    vectors = np.eye(4)[rng.integers(0, 4, 20)] * rng.choice([-1.0, 0.0, 1.0], (20, 1))
    found_scores, found = marginal_relevance(
        torch.from_numpy(scores), torch.from_numpy(items), torch.from_numpy(vectors), k, weight
    )
    for user in range(5):
        places = relevant(scores[user].tolist(), vectors[items[user]], k, weight)
        assert found[user].tolist() == items[user, places].tolist()
        assert found_scores[user].tolist() == scores[user, places].tolist()


def test_marginal_relevance_refuses_what_makes_no_sense():
    scores, items, vectors = torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.int64), torch.eye(3)
    for k, weight in ((0, 0.5), (4, 0.5), (1, -0.1), (1, 1.1), (1, math.nan)):
        with pytest.raises(ValueError):
            marginal_relevance(scores, items, vectors, k, weight)
