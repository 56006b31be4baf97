"""Checks for a pipeline: a metric reaches a least value, or is no worse than another run's.

A run is *worse* than a base in a metric where the 95 % interval of the mean paired difference, run
minus base, lies wholly below zero. Users are the pairs, and the interval is Student's:

    mean(d) -+ t(0.975; n - 1) * std(d) / sqrt(n),  d = metric of the run - metric of the base
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from miracle_core.config import METRIC_NAMES
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import Evaluation
from miracle_core.evaluation.metrics import user_metrics

COVERAGE = 0.95


@dataclass(frozen=True)
class Bound:
    """A least value of a metric.

    Attributes:
        metric: such as ``recall@10``.
        least: what a run must reach.
    """

    metric: str
    least: float

    @classmethod
    def parse(cls, text: str, ks: Sequence[int]) -> Bound:
        """From ``recall@10=0.2``.

        Args:
            text: what was typed.
            ks: the cut-offs that are measured.

        Raises:
            InputError: it is not written so, the metric is none of the runs', or the number is not
                from 0 to 1.
        """
        where = f"--fail-under {text}"
        metric, equals, number = text.partition("=")
        try:
            least = float(number)
        except ValueError:
            least = math.nan
        if not equals or math.isnan(least):
            raise InputError(
                "is not a metric and a number",
                where=where,
                remedy="write --fail-under recall@10=0.2",
            )
        if not 0 <= least <= 1:
            raise InputError("a metric is between 0 and 1", where=where, remedy="write 20 % as 0.2")
        return cls(known_metric(metric.strip(), ks, where), least)


def known_metric(metric: str, ks: Sequence[int], where: str) -> str:
    """The name of a metric that the runs are measured by.

    Raises:
        InputError: they are not.
    """
    names = [f"{name}@{k}" for k in ks for name in METRIC_NAMES]
    if metric not in names:
        name, _, k = metric.partition("@")
        number = name in METRIC_NAMES and k.isascii() and k.isdigit() and int(k) > 0
        raise InputError(
            f"no run has the metric {metric!r} (they have: {', '.join(names)})",
            where=where,
            remedy=f"measure it: --k {int(k)}" if number else "name one of them",
        )
    return metric


@dataclass(frozen=True)
class Check:
    """One demand on one run, and whether it is met.

    Attributes:
        run: the run's label.
        metric: what was measured.
        value: the run's value of it.
        demand: what was asked, in words.
        failed: whether it is not met.
        detail: all figures in one sentence.
        figures: the same for JSON.
    """

    run: str
    metric: str
    value: float
    demand: str
    failed: bool
    detail: str
    figures: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "run": self.run,
            "metric": self.metric,
            "value": self.value,
            **self.figures,
            "failed": self.failed,
        }


def check_bound(label: str, found: Evaluation, bound: Bound) -> Check:
    """Whether a run reaches a bound; one that equals it does."""
    value = found.metrics[bound.metric]
    failed = value < bound.least
    return Check(
        run=label,
        metric=bound.metric,
        value=value,
        demand=f"at least {bound.least:g}",
        failed=failed,
        detail=f"{label}: {bound.metric} is {value:.6g}, "
        f"{'below' if failed else 'at or above'} the bound {bound.least:g}",
        figures={"least": bound.least},
    )


def check_not_worse(
    label: str, found: Evaluation, base_label: str, base: Evaluation, metric: str
) -> Check:
    """Whether a run is no worse than a base on the same users.

    Args:
        label: the run's.
        found: the run's evaluation.
        base_label: the base's.
        base: the base's evaluation.
        metric: one that both are measured by.

    Raises:
        InputError: the users differ, or there is only one.
    """
    if not np.array_equal(found.users, base.users) or not np.array_equal(
        found.targets, base.targets
    ):
        raise InputError(
            f"and {base_label} were not measured on the same users and items",
            where=label,
            remedy="evaluate both on one Dataset: --data DATA",
        )
    k = int(metric.partition("@")[2])
    difference = user_metrics(found.ranks, k)[metric] - user_metrics(base.ranks, k)[metric]
    if len(difference) < 2:
        raise InputError(
            "a difference of one user has no interval",
            where=label,
            remedy="evaluate on more users, or use --fail-under",
        )
    mean, low, high = paired_interval(difference)
    failed = high < 0
    return Check(
        run=label,
        metric=metric,
        value=found.metrics[metric],
        demand=f"no worse than {base_label}",
        failed=failed,
        detail=f"{label}: {metric} is {found.metrics[metric]:.6g}, {base_label} has "
        f"{base.metrics[metric]:.6g}; difference {mean:+.6g}, 95 % interval {low:+.6g} to "
        f"{high:+.6g}: {verdict(low, high)}",
        figures={
            "base": base_label,
            "base_value": base.metrics[metric],
            "difference": mean,
            "interval": [low, high],
        },
    )


def verdict(low: float, high: float) -> str:
    """A 95 % interval of differences in words; ``not worse`` if it holds 0."""
    return "worse" if high < 0 else "better" if low > 0 else "not worse"


def paired_interval(difference: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean of paired differences, and the ends of its 95 % interval (Student's t).

    Args:
        difference: float64 [pairs], at least two.
    """
    n = len(difference)
    mean = float(difference.mean())
    reach = float(stdtrit(n - 1, (1 + COVERAGE) / 2) * difference.std(ddof=1) / math.sqrt(n))
    return mean, mean - reach, mean + reach
