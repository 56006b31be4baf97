"""How certain a difference of two systems is: users and seeds as two sources of variance.

A metric's mean is taken over users and over training runs (seeds). Another sample of users would
give another mean, and so would other seeds. The users are the same for both systems, so their
differences are taken user by user. The seeds of one system have nothing to do with those of the
other. With y[s, u] the metric of user u under seed s, and a the system:

    Var(mean_a - mean_b) = U + (V_a - W_a) + (V_b - W_b)

U is the variance of the mean over users of the differences (each averaged over seeds). V is the
variance over seeds of the means, divided by the number of seeds. U and V both contain the
interaction of seeds and users, so it would count twice. W estimates it from the residuals of the
users x seeds table, and V - W is never taken below 0. All three are mean squares of a balanced
table, so Satterthwaite's degrees of freedom follow (Satterthwaite, 1946, Biometrics Bulletin 2(6)).
Where users come in clusters (several invoices of one customer), sums over clusters take the place
of users.

There is no Wilcoxon test here. With thousands of users it rejects equal means far more often than
its level says (Ihemelandu and Ekstrand, 2023): it tests another hypothesis than that of equal
means, and most users have no difference at all in a metric cut off at K.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Array = npt.NDArray[np.float64]
LEVEL = 0.95
MARGIN = 0.02
DRAWS = 2000
_DOUBLINGS = 40  # of a step away from the ratio before an interval is called unbounded


@dataclass(frozen=True)
class Interval:
    """A confidence interval, from ``low`` to ``high``."""

    low: float
    high: float


@dataclass(frozen=True)
class Mean:
    """The mean of one system.

    Attributes:
        value: the mean over users and seeds.
        interval: its 95 % interval.
        error: its standard error.
        df: degrees of freedom.
        both: whether the interval includes the variance of seeds; with one seed it does not.
    """

    value: float
    interval: Interval
    error: float
    df: float
    both: bool


@dataclass(frozen=True)
class Difference:
    """System a against system b.

    Attributes:
        a: mean of a.
        b: mean of b.
        difference: a - b.
        error: its standard error.
        df: Satterthwaite's degrees of freedom.
        interval: the 95 % interval of the difference.
        relative: a / b - 1; None where b is 0.
        relative_interval: its 95 % interval by Fieller's method (it excludes 0 exactly where the
            difference's interval does); None where b can't be told from 0.
        p: two-sided p-value of a t test; None where no claim can be made.
        equal_p: p-value of two one-sided tests, small where a lies within 2 % of b; None where no
            claim can be made.
        both: whether the variance of seeds is in these figures. If not (one seed), the interval is
            of users only, and there is no claim.
        users_share: the share of the variance that is due to users, 0 to 1; the rest is due to
            seeds.
    """

    a: float
    b: float
    difference: float
    error: float
    df: float
    interval: Interval
    relative: float | None
    relative_interval: Interval | None
    p: float | None
    equal_p: float | None
    both: bool
    users_share: float

    @property
    def side(self) -> int:
        """Where the interval lies: 1 above 0, -1 below it, 0 if it contains 0."""
        return int(self.interval.low > 0) - int(self.interval.high < 0)


@dataclass(frozen=True)
class _Seeds:
    """The variance that seeds add to one system's mean: ``v`` and ``w`` of the module's text."""

    v: float
    w: float
    v_df: float
    w_df: float

    @property
    def excess(self) -> float:
        return max(self.v - self.w, 0.0)

    def spread(self) -> float:
        """The variance of the estimate, as Satterthwaite takes it, without the factor 2."""
        return (self.v**2 / self.v_df + self.w**2 / self.w_df) if self.excess else 0.0


class Pair:
    """Two systems on the same users, ready for tests of ``mean_a - ratio * mean_b``.

    Args:
        a: float [seeds of a, users], the metric of each user under each seed.
        b: float [seeds of b, users].
        clusters: int [users], which cluster each user belongs to, from 0 without gaps; None where
            users are independent.
        fixed_a: a's result does not depend on a seed (popularity, neighbours), so one run is
            enough.
        fixed_b: the same for b.

    Raises:
        ValueError: other shapes, or fewer than two users or clusters.
    """

    def __init__(
        self,
        a: Array,
        b: Array,
        clusters: npt.NDArray[np.integer[Any]] | None = None,
        *,
        fixed_a: bool = False,
        fixed_b: bool = False,
    ) -> None:
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
            raise ValueError("a and b must be [seeds, users] over the same users")
        sums = _Sums(a.shape[1], clusters)
        self.a, self.b = float(a.mean()), float(b.mean())
        centred = np.stack([sums(each.mean(0) - each.mean()) for each in (a, b)])
        self._users = centred @ centred.T * sums.scale
        self._users_df = sums.groups - 1.0
        self._seeds = [_seeds(each, sums) for each in (a, b)]
        self.both = all(fixed or len(each) > 1 for each, fixed in ((a, fixed_a), (b, fixed_b)))

    def variance(self, ratio: float = 1.0) -> tuple[float, float, float]:
        """The variance of ``mean_a - ratio * mean_b``.

        Returns:
            The variance, its degrees of freedom, and the part of it that is due to users.
        """
        weights = np.array([1.0, -ratio])
        users = max(float(weights @ self._users @ weights), 0.0)
        total, spread = users, users**2 / self._users_df
        if self.both:
            for weight, part in zip(weights**2, self._seeds, strict=True):
                total += weight * part.excess
                spread += weight**2 * part.spread()
        return float(total), float(total**2 / spread) if spread else self._users_df, users

    def t(self, ratio: float = 1.0) -> tuple[float, float]:
        """The t statistic of ``mean_a = ratio * mean_b`` and its degrees of freedom."""
        variance, df, _ = self.variance(ratio)
        distance = self.a - ratio * self.b
        if variance == 0:
            return (0.0 if distance == 0 else float(np.copysign(np.inf, distance))), df
        return distance / variance**0.5, df

    def equal(self, margin: float = MARGIN) -> float:
        """p-value of two one-sided tests (Schuirmann, 1987): small where a is within the margin.

        Args:
            margin: relative to b.
        """
        above, df_above = self.t(1 - margin)
        below, df_below = self.t(1 + margin)
        return float(max(stats.t.sf(above, df_above), stats.t.cdf(below, df_below)))

    def ratio(self, level: float = LEVEL) -> Interval | None:
        """The interval of mean_a / mean_b (Fieller): every ratio that a t test does not reject.

        Returns:
            None where b is 0, or can't be told from 0, so that the interval has no bounds.
        """
        if self.b == 0:
            return None
        best = self.a / self.b

        def beyond(ratio: float) -> float:
            variance, df, _ = self.variance(ratio)
            return float(
                abs(self.a - ratio * self.b) - stats.t.ppf((1 + level) / 2, df) * variance**0.5
            )

        ends = []
        first = abs(self.variance(best)[0] ** 0.5 / self.b)
        if first == 0:
            return Interval(best, best)
        for sign in (-1.0, 1.0):
            step = first
            for _ in range(_DOUBLINGS):
                if beyond(best + sign * step) > 0:
                    break
                step *= 2
            else:
                return None
            ends.append(float(optimize.brentq(beyond, best, best + sign * step, xtol=1e-12)))
        return Interval(*ends)

    @cached_property
    def difference(self) -> Difference:
        """All figures of the two systems' difference."""
        variance, df, users = self.variance()
        error = variance**0.5
        distance = self.a - self.b
        half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * error
        t, _ = self.t()
        ratio = self.ratio()
        return Difference(
            a=self.a,
            b=self.b,
            difference=distance,
            error=error,
            df=df,
            interval=Interval(distance - half, distance + half),
            relative=None if self.b == 0 else self.a / self.b - 1,
            relative_interval=None if ratio is None else Interval(ratio.low - 1, ratio.high - 1),
            p=float(2 * stats.t.sf(abs(t), df)) if self.both else None,
            equal_p=self.equal() if self.both else None,
            both=self.both,
            users_share=users / variance if variance else 1.0,
        )


def mean(
    values: Array,
    clusters: npt.NDArray[np.integer[Any]] | None = None,
    *,
    fixed: bool = False,
    level: float = LEVEL,
) -> Mean:
    """A system's mean with its interval over users and seeds.

    Args:
        values: float [seeds, users].
        clusters: as in :class:`Pair`.
        fixed: the result does not depend on a seed.
        level: of the interval.
    """
    # Against a system that is 0 for everybody: the difference is the mean.
    pair = Pair(values, np.zeros((1, values.shape[1])), clusters, fixed_a=fixed, fixed_b=True)
    variance, df, _ = pair.variance()
    half = float(stats.t.ppf((1 + level) / 2, df)) * variance**0.5
    return Mean(pair.a, Interval(pair.a - half, pair.a + half), variance**0.5, df, pair.both)


def bootstrap(
    a: Array,
    b: Array,
    clusters: npt.NDArray[np.integer[Any]] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The interval of mean_a - mean_b by resampling users (clusters) and seeds: a check of t.

    Clusters are drawn for both systems together, seeds for each by itself. Of S seeds S - 1 are
    drawn, since S draws would show only (S - 1) / S of their variance. The interaction of seeds and
    users counts more than once, so the interval is somewhat too wide where it is large.

    Args:
        a: float [seeds of a, users].
        b: float [seeds of b, users].
        clusters: as in :class:`Pair`.
        draws: how many samples.
        seed: of the random draws.
        level: of the percentile interval.
    """
    rng = np.random.default_rng(seed)
    sums = _Sums(a.shape[1], clusters)
    totals = np.concatenate([sums(a), sums(b)])
    found = np.empty(draws)
    for draw in range(draws):
        weights = np.bincount(rng.integers(0, sums.groups, sums.groups), minlength=sums.groups)
        means = totals @ weights.astype(np.float64) / (sums.sizes @ weights)
        chosen = [
            part[rng.integers(0, len(part), max(len(part) - 1, 1))].mean()
            for part in (means[: len(a)], means[len(a) :])
        ]
        found[draw] = chosen[0] - chosen[1]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def holm(p: npt.ArrayLike) -> Array:
    """p-values adjusted for a family of tests (Holm, 1979): compare them with the level itself.

    Args:
        p: float [tests].

    Returns:
        float [tests], in the same order.
    """
    given = np.asarray(p, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    steps = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


class _Sums:
    """Sums over clusters of users.

    Attributes:
        groups: how many clusters.
        sizes: float [clusters], users of each.
        scale: times a sum of squares of cluster sums, it is the variance of a mean over users.

    Raises:
        ValueError: not one cluster for each user, or fewer than two.
    """

    def __init__(self, users: int, clusters: npt.NDArray[np.integer[Any]] | None) -> None:
        if clusters is not None and clusters.shape != (users,):
            raise ValueError("there must be one cluster a user")
        self._clusters = clusters
        self.sizes = np.ones(users) if clusters is None else np.bincount(clusters).astype(float)
        self.groups = len(self.sizes)
        if self.groups < 2:
            raise ValueError("a variance needs two users or clusters")
        self.scale = self.groups / (self.groups - 1) / users**2

    def __call__(self, values: Array) -> Array:
        """[..., users] to [..., clusters]."""
        if self._clusters is None:
            return values
        if values.ndim == 1:
            return np.bincount(self._clusters, values, self.groups).astype(np.float64)
        return np.stack([np.bincount(self._clusters, row, self.groups) for row in values])


def _seeds(values: Array, sums: _Sums) -> _Seeds:
    n = len(values)
    if n < 2:
        return _Seeds(0.0, 0.0, 1.0, 1.0)
    means = values.mean(1, keepdims=True)
    residuals = sums(values - means - values.mean(0) + means.mean())
    w = float((residuals**2).sum()) / (n - 1) * sums.scale / n
    df = n - 1.0
    return _Seeds(float(means.var(ddof=1)) / n, w, df, df * (sums.groups - 1))
