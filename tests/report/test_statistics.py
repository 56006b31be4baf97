"""Intervals and p-values against scipy, a second implementation and published figures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from benchmarks.significance import SCENARIOS, Scenario, rejections
from miracle_core.report.statistics import Pair, bootstrap, holm, mean

Array = npt.NDArray[np.float64]


def drawn(
    seeds: int, users: int, *, at: float = 0.3, luck: float = 0.05, seed: int = 0, base: int = 9
) -> Array:
    """Draw a metric from users' ease (``base``), the seeds' luck and chance."""
    ease = np.random.default_rng(base).normal(at, 0.2, users)
    rng = np.random.default_rng(seed)
    return ease + rng.normal(0, luck, (seeds, 1)) + rng.normal(0, 0.1, (seeds, users))


def test_fixed_systems_are_a_paired_t_test() -> None:
    a, b = drawn(1, 300, seed=1), drawn(1, 300, at=0.31, seed=2)
    ours = Pair(a, b, fixed_a=True, fixed_b=True).difference
    theirs = stats.ttest_rel(a[0], b[0])
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert ours.df == pytest.approx(theirs.df)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.interval.low, ours.interval.high) == pytest.approx((low, high))
    assert ours.users_share == 1


def test_seeds_alone_are_welchs_test() -> None:
    """Without differences between users, only the runs' means matter."""
    a = np.repeat(np.array([[0.30], [0.32], [0.37]]), 50, axis=1)
    b = np.repeat(np.array([[0.25], [0.29], [0.26], [0.33], [0.24]]), 50, axis=1)
    ours = Pair(a, b).difference
    theirs = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert ours.df == pytest.approx(theirs.df, rel=1e-9)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.interval.low, ours.interval.high) == pytest.approx((low, high))
    assert ours.users_share == pytest.approx(0, abs=1e-12)


def test_a_mean_over_users_is_scipys() -> None:
    values = drawn(1, 200)
    ours = mean(values, fixed=True)
    low, high = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
    assert (ours.interval.low, ours.interval.high) == pytest.approx((low, high))
    assert ours.both
    assert not mean(values).both


def test_mean_squares_of_a_balanced_table() -> None:
    """The variance and its degrees of freedom, by hand from a two-way analysis of variance."""
    a, b = drawn(4, 60, luck=0.1, seed=1), drawn(3, 60, luck=0.1, seed=2)
    d = a.mean(0) - b.mean(0)
    terms = [(d.var(ddof=1) / 60, 59)]
    for y in (a, b):
        s, n = y.shape
        rows = n * y.mean(1).var(ddof=1)
        residual = sum(
            (y[i, j] - y[i].mean() - y[:, j].mean() + y.mean()) ** 2
            for i in range(s)
            for j in range(n)
        ) / ((s - 1) * (n - 1))
        assert rows > residual
        terms += [(rows / (n * s), s - 1), (-residual / (n * s), (s - 1) * (n - 1))]
    total = sum(value for value, _ in terms)
    ours = Pair(a, b).difference
    assert ours.error**2 == pytest.approx(total, rel=1e-9)
    assert ours.df == pytest.approx(total**2 / sum(v**2 / df for v, df in terms), rel=1e-9)


def test_no_seed_effect_adds_nothing_of_its_own() -> None:
    """If seeds differ only by chance over users, the variance is that of the users."""
    a = np.stack([np.roll(np.tile([0.0, 1.0], 50), shift) for shift in (0, 1)])
    b = np.random.default_rng(0).random((1, 100))
    ours = Pair(a, b, fixed_b=True).difference
    assert ours.users_share == 1
    assert ours.df == 99


def test_clusters_of_equal_users_are_one_user_each() -> None:
    a, b = drawn(3, 40, seed=1), drawn(3, 40, seed=2)
    once = Pair(a, b).difference
    three = Pair(
        np.repeat(a, 3, axis=1), np.repeat(b, 3, axis=1), np.repeat(np.arange(40), 3)
    ).difference
    assert three.error == pytest.approx(once.error, rel=1e-9)
    assert three.p == pytest.approx(once.p, rel=1e-9)
    alone = Pair(np.repeat(a, 3, axis=1), np.repeat(b, 3, axis=1)).difference
    assert alone.error < once.error


def test_one_seed_makes_no_claim() -> None:
    found = Pair(drawn(1, 100, seed=1), drawn(5, 100, at=0.9, seed=2)).difference
    assert not found.both
    assert found.p is None
    assert found.equal_p is None
    assert found.interval.high < 0
    assert found.df == 99


def test_relative_interval_agrees_with_the_test() -> None:
    """Each end of Fieller's interval is a ratio that a t test rejects at exactly 5 %."""
    pair = Pair(drawn(5, 400, at=0.32, seed=1), drawn(4, 400, seed=2))
    found = pair.difference
    assert found.relative is not None
    assert found.relative_interval is not None
    assert found.relative_interval.low < found.relative < found.relative_interval.high
    for end in (found.relative_interval.low, found.relative_interval.high):
        t, df = pair.t(1 + end)
        assert 2 * stats.t.sf(abs(t), df) == pytest.approx(0.05, rel=1e-6)
    excludes = found.relative_interval.low > 0 or found.relative_interval.high < 0
    assert excludes == (found.p is not None and found.p < 0.05)


def test_a_ratio_with_nothing_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    found = Pair(drawn(3, 50), rng.normal(0, 1, (3, 50))).difference
    assert found.relative_interval is None
    zero = Pair(drawn(3, 50), np.zeros((3, 50))).difference
    assert zero.relative is None


def test_equality_is_two_one_sided_tests() -> None:
    a, b = drawn(1, 4000, luck=0, seed=1), drawn(1, 4000, luck=0, seed=2)
    found = Pair(a, b, fixed_a=True, fixed_b=True).difference
    above = stats.ttest_1samp(a[0] - 0.98 * b[0], 0, alternative="greater").pvalue
    below = stats.ttest_1samp(a[0] - 1.02 * b[0], 0, alternative="less").pvalue
    assert found.equal_p == pytest.approx(max(above, below), rel=1e-6)
    assert found.equal_p is not None
    assert found.equal_p < 0.05
    apart = Pair(a, drawn(1, 4000, at=0.33, luck=0, seed=2), fixed_a=True, fixed_b=True).difference
    assert apart.equal_p is not None
    assert apart.equal_p > 0.5


def test_a_system_against_itself() -> None:
    a = drawn(3, 30)
    same = Pair(a[:1], a[:1], fixed_a=True, fixed_b=True).difference
    assert (same.difference, same.error, same.p) == (0, 0, 1)
    assert same.relative_interval is not None
    assert (same.relative_interval.low, same.relative_interval.high) == (0, 0)


@pytest.mark.parametrize("clustered", [False, True])
def test_the_bootstrap_finds_the_same_interval(clustered: bool) -> None:
    clusters = np.arange(600) // 3 if clustered else None
    a, b = drawn(8, 600, luck=0.02, seed=1), drawn(8, 600, luck=0.02, seed=2)
    t, drawn_again = Pair(a, b, clusters).difference.interval, bootstrap(a, b, clusters)
    width = t.high - t.low
    assert drawn_again.high - drawn_again.low == pytest.approx(width, rel=0.2)
    assert drawn_again.low == pytest.approx(t.low, abs=0.15 * width)
    assert bootstrap(a, b, clusters, draws=50) == bootstrap(a, b, clusters, draws=50)


def test_holm_against_a_published_example() -> None:
    """Demšar (2006, JMLR 7, section 3.2.2): C4.5 with four settings over 14 data sets.

    Average ranks 3.143 (C4.5), 1.964, 2.000 and 2.893; standard error 0.488; p-values .016, .019,
    .607 against .017, .025, .05: the first two are rejected.
    """
    z = (3.143 - np.array([1.964, 2.000, 2.893])) / (4 * 5 / (6 * 14)) ** 0.5
    p = 2 * stats.norm.sf(z)
    assert p.round(3).tolist() == pytest.approx([0.016, 0.019, 0.608], abs=0.0011)
    adjusted = holm(p)
    assert (adjusted < 0.05).tolist() == [True, True, False]
    # Step down: 3 x the smallest, then 2 x the next, but never below the one before.
    assert adjusted.tolist() == pytest.approx([3 * p[0], max(3 * p[0], 2 * p[1]), p[2]])
    assert holm(p[[2, 0, 1]]).tolist() == adjusted[[2, 0, 1]].tolist()


def test_holm_by_definition() -> None:
    """The adjusted value is the level at which the step-down procedure first rejects."""
    rng = np.random.default_rng(4)
    p = rng.random(6) ** 3

    def rejected(level: float) -> set[int]:
        left = [int(i) for i in np.argsort(p)]
        out = set()
        while left and p[left[0]] <= level / len(left):
            out.add(left.pop(0))
        return out

    for index, adjusted in enumerate(holm(p)):
        assert index not in rejected(adjusted - 1e-9)
        assert adjusted == 1 or index in rejected(adjusted + 1e-9)
    assert holm([0.7, 0.6]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["users and seeds", "clusters"])
def test_identical_systems_are_told_apart_in_one_table_of_twenty(name: str) -> None:
    """``python -m benchmarks.significance`` has 5,000 tables; so few tell 5 % from 10 % only."""
    scenario = SCENARIOS[name]
    small = Scenario(scenario.seeds, 200, scenario.customers // 5, luck=0.2)
    found = rejections(small, 400)
    assert 0.02 <= found["ours"] <= 0.085
    assert found["users_only"] > 0.1
