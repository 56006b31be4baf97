"""Runs grouped into systems; results that can't be in one table are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from miracle_core.errors import InputError
from miracle_core.evaluation.metrics import user_metric
from miracle_core.evaluation.user_results import About, UserResults
from miracle_core.report.gather import Source


@dataclass(frozen=True)
class SystemRuns:
    """The runs of one system: settings equal except the seed.

    Attributes:
        name: its name in the table.
        runs: their results, by rising seed.
    """

    name: str
    runs: tuple[UserResults, ...]

    @property
    def about(self) -> About:
        """The description of the first run; model, seen rule and settings are those of all."""
        return self.runs[0].about

    @property
    def seeds(self) -> list[int]:
        """The runs' seeds."""
        return [run.about.seed for run in self.runs]

    def values(self, metric: str) -> npt.NDArray[np.float64]:
        """A metric of each user under each seed, float64 [seeds, users]."""
        return user_metric(np.stack([run.ranks for run in self.runs]), metric)


def column(about: About) -> str:
    """Which of the two tables a result belongs to: ``as printed`` or ``seen-aware``.

    Both leave-out and the gain are seen-aware.
    """
    return "as printed" if about.seen == "as-printed" else "seen-aware"


# What must be equal in one table: its name in an error, its value for a run, and the remedy.
_SAME: tuple[tuple[str, Callable[[About], Any], str], ...] = (
    (
        "Datasets or splits",
        lambda about: (about.dataset, about.fingerprint[:16]),
        "compare runs on one Dataset folder; of an experiment name DIR/runs/DATA",
    ),
    ("splits", lambda about: about.split, "evaluate all on the same: --split"),
    ("candidates", lambda about: about.candidates, "rank the same catalogue with all"),
    (
        "seen rules",
        column,
        "evaluate all by one rule: --seen as-printed or --seen leave-out; of an experiment name a "
        "column, DIR/runs/DATA/as-printed",
    ),
    (
        "rules of a shop",
        lambda about: rules_in_words(about),
        "evaluate all by the same; what rules cost one run, miracle evaluate says",
    ),
)


def check_comparable(results: Sequence[UserResults]) -> None:
    """Refuse results that can't be in one table.

    Raises:
        InputError: other splits, candidates, seen rules, users or held-out items than the first's;
            both sides are named. Or there are fewer than two users.
    """
    first = results[0]
    if len(first.ranks) < 2:
        raise InputError(
            f"holds {len(first.ranks)} user(s), and an interval needs at least two",
            where=str(first.where),
            remedy="evaluate on more users",
        )
    for other in results[1:]:
        where = f"{first.where} and {other.where}"
        for what, of, remedy in _SAME:
            one, two = of(first.about), of(other.about)
            if one != two:
                raise InputError(
                    f"are of different {what}: {_words(one)} and {_words(two)}",
                    where=where,
                    remedy=remedy,
                )
        same_users = first.user_ids.equals(other.user_ids)
        if not same_users or not first.targets.equals(other.targets):
            what = "held-out items" if same_users else "users"
            raise InputError(
                f"say one Dataset and split, but their {what} differ",
                where=where,
                remedy="one of them was changed; make both again: miracle evaluate RUN "
                "--save-users FILE",
            )


def rules_in_words(about: About) -> str:
    """The rules of the lists in words; ``none`` without rules."""
    if about.rules is None:
        return "none"
    asked = {name: value for name, value in about.rules.items() if name != "sha256"}
    told = ", ".join(f"{name} {value}" for name, value in asked.items())
    return f"{told} ({str(about.rules.get('sha256'))[:8]})"


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def grouped(sources: Sequence[Source]) -> list[SystemRuns]:
    """Runs by their settings except the seed, systems in the order they are first named.

    A system of an experiment has the name of its row, with the column if both columns are given.
    Other systems have the name of their kind, or that of their folder if several are of one kind.

    Raises:
        InputError: one seed of a system is given twice, or a system's runs are ranked by
            different seen rules.
    """
    groups: list[list[Source]] = []
    for source in sources:
        own = next((group for group in groups if group[0].system == source.system), None)
        if own is None:
            groups.append([source])
        else:
            own.append(source)
    kinds = Counter(group[0].results.about.model for group in groups)
    rows = Counter(group[0].row for group in groups)
    names: Counter[str] = Counter()
    systems = []
    for group in groups:
        kind = group[0].results.about.model
        name = _row(group[0], rows) or (kind if kinds[kind] == 1 else group[0].folder)
        names[name] += 1
        if names[name] > 1:
            name = f"{name}#{names[name]}"
        runs = tuple(sorted((s.results for s in group), key=lambda run: run.about.seed))
        _check_seeds(name, runs)
        systems.append(SystemRuns(name, runs))
    return systems


def _row(source: Source, rows: Mapping[str, int]) -> str:
    """The name of a row of an experiment; empty outside one."""
    return f"{source.row} ({source.column})" if rows[source.row] > 1 and source.row else source.row


def _check_seeds(name: str, runs: tuple[UserResults, ...]) -> None:
    for one, two in pairwise(runs):
        where = f"{one.where} and {two.where}"
        if one.about.seed == two.about.seed:
            raise InputError(
                f"are both {name} with seed {one.about.seed}: one run counts once",
                where=where,
                remedy="leave one out, or train with another --seed",
            )
        if one.about.seen != two.about.seen:
            raise InputError(
                f"are runs of {name} ranked by different seen rules: {one.about.seen} and "
                f"{two.about.seen}",
                where=where,
                remedy="evaluate all by one rule: --seen",
            )
    by_weights: dict[str, UserResults] = {}
    for two in runs if runs[0].about.seeded else ():
        one = by_weights.setdefault(two.about.weights_sha256, two)
        if one is not two:
            raise InputError(
                f"say seeds {one.about.seed} and {two.about.seed}, but their weights are the same",
                where=f"{one.where} and {two.where}",
                remedy="leave one out",
            )
