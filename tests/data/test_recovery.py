"""Scoring capsules against planted interests."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from miracle_core.data.synthetic.recovery import recovery
from miracle_core.errors import InputError


def test_equal_partitions_are_perfect_whatever_the_names() -> None:
    score = recovery([7, 7, 3, 3, 0], ["tea", "tea", "bread", "bread", "wok"])
    assert score.adjusted_mutual_information == pytest.approx(1)
    assert (score.items, score.same_interest, score.different_interest) == (5, 1, 0)


def test_pairs_are_counted_as_by_hand() -> None:
    # in the same interest: (0,1) share a capsule, (0,2) and (1,2) don't
    # in different interests: (0,3) and (1,3) share one, (2,3) don't
    score = recovery([1, 1, 2, 1], [0, 0, 0, 5])
    assert score.same_interest == pytest.approx(1 / 3)
    assert score.different_interest == pytest.approx(2 / 3)


def test_pairs_agree_with_a_loop_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    capsule, interest = rng.integers(0, 5, 60), rng.integers(0, 4, 60)
    shared = {True: [], False: []}
    for a, b in itertools.combinations(range(60), 2):
        shared[bool(interest[a] == interest[b])].append(capsule[a] == capsule[b])
    score = recovery(capsule.tolist(), interest.tolist())
    assert score.same_interest == pytest.approx(np.mean(shared[True]), abs=1e-12)
    assert score.different_interest == pytest.approx(np.mean(shared[False]), abs=1e-12)


def test_chance_scores_zero_and_a_finer_partition_stays_high() -> None:
    rng = np.random.default_rng(0)
    interest = np.repeat(np.arange(12), 100)
    random = recovery(rng.integers(0, 32, 1200).tolist(), interest.tolist())
    assert abs(random.adjusted_mutual_information) < 0.02
    assert random.same_interest == pytest.approx(random.different_interest, abs=0.01)
    finer = recovery((interest * 3 + np.arange(1200) % 3).tolist(), interest.tolist())
    assert finer.adjusted_mutual_information > 0.7
    assert finer.different_interest == 0


def test_without_pairs_there_is_no_probability() -> None:
    one = recovery([1, 2], ["tea", "tea"])
    assert math.isnan(one.different_interest)
    assert one.same_interest == 0
    assert math.isnan(recovery([1, 1], ["tea", "wok"]).same_interest)


@pytest.mark.parametrize(("capsules", "interests"), [([], []), ([1, 2], [1])])
def test_what_cannot_be_compared_is_refused(capsules: list[int], interests: list[int]) -> None:
    with pytest.raises(InputError, match="can't be compared"):
        recovery(capsules, interests)
