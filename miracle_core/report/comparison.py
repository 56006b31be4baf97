"""Several systems on one split: means, differences, the one claim, slices, wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from miracle_core.errors import InputError
from miracle_core.evaluation.metrics import DEFAULT_KS
from miracle_core.evaluation.slices import Group, groups
from miracle_core.evaluation.user_results import UserResults
from miracle_core.report.statistics import (
    LEVEL,
    MARGIN,
    Difference,
    Interval,
    Mean,
    Pair,
    bootstrap,
    holm,
    mean,
)
from miracle_core.report.systems import SystemRuns, check_comparable, column

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
PRIMARY = "ndcg@10"
NAMES = ("recall", "ndcg", "mrr")
SAME = 1e-9


@dataclass(frozen=True)
class Against:
    """The reference system against another one.

    Attributes:
        other: the other system's name.
        differences: reference - other, by metric.
        bootstrapped: the primary metric's interval by resampling, a check of the t interval.
        adjusted_p: p-value of the primary metric, by Holm over all systems; None where no claim is
            made.
        verdict: ``better``, ``worse``, ``equal`` (within 2 %), ``not told apart``, or ``no claim``.
        wins: the shares of users whom the reference serves ``better`` or ``worse`` by the primary
            metric averaged over seeds, and of users for whom ``neither`` has the item among the
            first K; of ``all`` users and of each slice.
    """

    other: str
    differences: dict[str, Difference]
    bootstrapped: Interval
    adjusted_p: float | None
    verdict: str
    wins: dict[str, Any]


class Comparison:
    """Systems compared on the users that all of them were evaluated for.

    Args:
        systems: at least two.
        primary: the metric of the claim.
        proposed: the system of the claim, named before anything is computed; None makes no claim,
            and compares the others with the system of the highest mean of the primary metric.
        clusters: int64 [users], see :func:`miracle_core.report.clusters.read_clusters`; None where
            users are independent.
        alone: allow a single system, which is then compared with none.

    Raises:
        InputError: a single system without ``alone``, results that can't be in one table, no such
            proposed system, or no such metric.

    Attributes:
        systems: as given.
        metrics: the names of all metrics, the primary one first.
        reference: the system that others are compared with.
    """

    def __init__(
        self,
        systems: Sequence[SystemRuns],
        *,
        primary: str = PRIMARY,
        proposed: str | None = None,
        clusters: npt.NDArray[np.int64] | None = None,
        alone: bool = False,
    ) -> None:
        check_comparable([run for system in systems for run in system.runs])
        if len(systems) < 2 and not alone:
            raise InputError(
                f"there is one system only: {systems[0].name}, {len(systems[0].runs)} run(s)",
                where="miracle compare",
                remedy="name runs of at least two systems; runs that differ in their seed only "
                "are one system",
            )
        by_name = {system.name: system for system in systems}
        if proposed is not None and proposed not in by_name:
            raise InputError(
                "is none of the systems",
                where=f"--proposed {proposed}",
                remedy=f"choose one of {', '.join(by_name)}",
            )
        k = _cut_off(primary)
        ks = sorted({k, *DEFAULT_KS})
        names = [f"{name}@{each}" for each in ks for name in NAMES]
        self.systems = list(systems)
        self.primary, self.proposed, self.clusters = primary, proposed, clusters
        self.metrics = [primary, *(name for name in names if name != primary)]
        self.users: UserResults = systems[0].runs[0]
        self._found: dict[tuple[str, str, str], Difference] = {}
        self._ranked: dict[str, list[SystemRuns]] = {}
        self.reference = self.ranked()[0] if proposed is None else by_name[proposed]

    @property
    def column(self) -> str:
        """Which of the two tables this is: ``as printed`` or ``seen-aware``."""
        return column(self.users.about)

    def ranked(self, metric: str | None = None) -> list[SystemRuns]:
        """The systems by their mean, the highest first; equal ones in the order they were given.

        Args:
            metric: which; None takes the primary one.
        """
        by = metric or self.primary
        if by not in self._ranked:
            means = {system.name: float(system.values(by).mean()) for system in self.systems}
            self._ranked[by] = sorted(self.systems, key=lambda system: -means[system.name])
        return list(self._ranked[by])

    @cached_property
    def means(self) -> dict[str, dict[str, Mean]]:
        """Each system's mean of each metric, with its interval."""
        return {
            system.name: {
                metric: mean(system.values(metric), self.clusters, fixed=not system.about.seeded)
                for metric in self.metrics
            }
            for system in self.systems
        }

    @cached_property
    def against(self) -> list[Against]:
        """The reference against every other system."""
        others = [system for system in self.systems if system is not self.reference]
        differences = {
            other.name: {
                metric: self.difference(self.reference, other, metric) for metric in self.metrics
            }
            for other in others
        }
        adjusted: dict[str, float] = {}
        if self.proposed is not None:
            # A family is what can be tested: where a system has one run, nothing is.
            tested = {
                name: found[self.primary].p
                for name, found in differences.items()
                if found[self.primary].p is not None
            }
            values = holm([p for p in tested.values() if p is not None])
            adjusted = dict(zip(tested, map(float, values), strict=True))
        return [
            Against(
                other.name,
                differences[other.name],
                bootstrap(
                    self.reference.values(self.primary),
                    other.values(self.primary),
                    self.clusters,
                ),
                adjusted.get(other.name),
                verdict(differences[other.name][self.primary], adjusted.get(other.name)),
                self._wins(other),
            )
            for other in others
        ]

    def difference(self, one: SystemRuns, two: SystemRuns, metric: str) -> Difference:
        """The difference of any two systems, ``one`` - ``two``.

        Only the p-values of the claim's differences mean something.
        """
        key = (one.name, two.name, metric)
        if key not in self._found:
            self._found[key] = Pair(
                one.values(metric),
                two.values(metric),
                self.clusters,
                fixed_a=not one.about.seeded,
                fixed_b=not two.about.seeded,
            ).difference
        return self._found[key]

    def pairs(self) -> list[tuple[SystemRuns, SystemRuns, Difference]]:
        """Every two systems by the primary metric, the one with the higher mean first.

        The intervals are descriptive: they are not corrected for the number of pairs.
        """
        return [
            (one, two, self.difference(one, two, self.primary))
            for one, two in combinations(self.ranked(), 2)
        ]

    def _wins(self, other: SystemRuns) -> dict[str, Any]:
        """``Against.wins`` of the reference against another system."""
        own = self.reference.values(self.primary).mean(0)
        theirs = other.values(self.primary).mean(0)
        return {
            "all": _shares(own, theirs),
            **{
                name: [
                    {"label": group.label, "users": len(group.members)}
                    | _shares(own[group.members], theirs[group.members])
                    for group in cut
                ]
                for name, cut in self.groups.items()
            },
        }

    @cached_property
    def groups(self) -> dict[str, list[Group]]:
        """Users by the length of their history, and by the popularity of their held-out item.

        Users whose item nobody took in training are a group of their own.
        """
        return {
            "history_length": groups(self.users.lengths),
            "target_popularity": groups(self.users.target_counts, zero_apart=True),
        }

    @cached_property
    def slices(self) -> dict[str, list[dict[str, Any]]]:
        """Each system's mean of the primary metric by history length and target popularity."""
        values = {system.name: system.values(self.primary).mean(0) for system in self.systems}
        return {
            name: [
                {
                    "label": group.label,
                    "users": len(group.members),
                    "means": {
                        system: float(own[group.members].mean()) for system, own in values.items()
                    },
                }
                for group in cut
            ]
            for name, cut in self.groups.items()
        }

    def frame(self) -> pd.DataFrame:
        """Each system's mean of each metric: a row a system, the primary metric first."""
        import pandas as pd

        rows = {
            name: {metric: each.value for metric, each in found.items()}
            for name, found in self.means.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def differences(self) -> pd.DataFrame:
        """The reference minus each other system, by the primary metric, with its interval.

        Columns: ``difference``, ``low`` and ``high`` of its 95 % interval, and the ``verdict``.
        """
        import pandas as pd

        rows = {}
        for found in self.against:
            own = found.differences[self.primary]
            bounds = own.interval.low, own.interval.high
            rows[found.other] = [own.difference, *bounds, found.verdict]
        columns = ["difference", "low", "high", "verdict"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    def _repr_html_(self) -> str:
        return str(self.frame().to_html() + self.differences().to_html())

    def document(self) -> dict[str, Any]:
        """The JSON contract of ``miracle compare``."""
        about = self.users.about
        return {
            "format": FORMAT,
            "dataset": about.dataset,
            "fingerprint": about.fingerprint,
            "split": about.split,
            "column": self.column,
            "candidates": about.candidates,
            "users": about.users,
            "clusters": None if self.clusters is None else int(self.clusters.max()) + 1,
            "level": LEVEL,
            "margin": MARGIN,
            "primary": self.primary,
            "proposed": self.proposed,
            "reference": self.reference.name,
            "systems": [self._system(system) for system in self.systems],
            "against": [
                {
                    "other": found.other,
                    "verdict": found.verdict,
                    "adjusted_p": found.adjusted_p,
                    "bootstrap": asdict(found.bootstrapped),
                    "differences": {
                        metric: self._descriptive(metric, asdict(each))
                        for metric, each in found.differences.items()
                    },
                    "wins": found.wins,
                }
                for found in self.against
            ],
            "pairs": [
                {
                    "a": one.name,
                    "b": two.name,
                    "difference": found.difference,
                    "error": found.error,
                    "df": found.df,
                    "interval": asdict(found.interval),
                    "relative": found.relative,
                    "relative_interval": None
                    if found.relative_interval is None
                    else asdict(found.relative_interval),
                    "both": found.both,
                }
                for one, two, found in self.pairs()
            ],
            "slices": self.slices,
        }

    def _descriptive(self, metric: str, difference: Mapping[str, Any]) -> dict[str, Any]:
        """A difference without p-values where it is no part of the claim."""
        claimed = self.proposed is not None and metric == self.primary
        return dict(difference) | ({} if claimed else {"p": None, "equal_p": None})

    def _system(self, system: SystemRuns) -> dict[str, Any]:
        about = system.about
        return {
            "name": system.name,
            "model": about.model,
            "seen": about.seen,
            "trained_seen": about.trained_seen,
            **({} if about.rules is None else {"rules": about.rules}),
            "seeded": about.seeded,
            "seeds": system.seeds,
            "epochs": [run.about.epoch for run in system.runs],
            "weights": [run.about.weights for run in system.runs],
            "files": [str(run.where) for run in system.runs],
            "metrics": {
                metric: asdict(found) | {"runs": system.values(metric).mean(1).tolist()}
                for metric, found in self.means[system.name].items()
            },
        }


def verdict(found: Difference, adjusted_p: float | None) -> str:
    """The verdict on a claim, at 5 %.

    Args:
        found: the difference, proposed - other.
        adjusted_p: None where no claim is made.
    """
    if adjusted_p is None or found.equal_p is None:
        return "no claim"
    # Equality comes first: with many users a tiny difference may be significant, and is still tiny.
    if found.equal_p < 1 - LEVEL:
        return "equal"
    if adjusted_p < 1 - LEVEL:
        return "better" if found.difference > 0 else "worse"
    return "not told apart"


def _shares(own: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> dict[str, float]:
    # The mean of the same numbers in another order may differ in its last digit.
    apart = own - theirs
    return {
        "better": float((apart > SAME).mean()),
        "worse": float((apart < -SAME).mean()),
        "neither": float(((own == 0) & (theirs == 0)).mean()),
    }


def _cut_off(metric: str) -> int:
    name, at, k = metric.partition("@")
    number = int(k) if k.isascii() and k.isdigit() else 0
    if name not in NAMES or not at or number < 1 or k != str(number):
        raise InputError(
            "is not a metric",
            where=f"--primary {metric}",
            remedy="write one of recall@K, ndcg@K, mrr@K",
        )
    return number
