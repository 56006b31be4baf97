"""What an experiment found: a comparison for each Dataset and column, and the claims over all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from miracle_core.evaluation.user_results import read_user_results
from miracle_core.experiments import paper
from miracle_core.experiments.activation import activations
from miracle_core.experiments.folder import check_ranks, progress, rank_file
from miracle_core.experiments.plan import Plan, Run, Unavailable
from miracle_core.experiments.running import Failure
from miracle_core.paths import portable
from miracle_core.report.comparison import Comparison, verdict
from miracle_core.report.statistics import holm
from miracle_core.report.systems import SystemRuns

FORMAT = 1


def unfinished(plan: Plan, out: Path) -> list[Run]:
    """The runs that are not done."""
    return [run for run in plan.runs if progress(run, out).state != "done"]


def collect(plan: Plan, out: Path, failures: Sequence[Failure] = ()) -> dict[str, Any]:
    """What ``experiment.json`` holds.

    If a run of a system failed, the table of that Dataset and column leaves the system out, since
    it would have fewer seeds than were asked for.

    Args:
        plan: the experiment; every run is done or failed.
        out: its folder.
        failures: the runs that failed.

    Raises:
        InputError: user results that are damaged, or of another run.
    """
    experiment = plan.experiment
    lost = {run.name for run in unfinished(plan, out)}
    left_out = [
        *plan.unavailable,
        *(
            Unavailable(run.system, run.data, f"{run.column}, seed {run.seed}: {failure.why}")
            for failure in failures
            for run in (plan.run(failure.run),)
        ),
    ]
    tables = []
    claims = []
    for column in experiment.columns:
        compared: dict[str, Comparison] = {}
        for data in plan.data:
            runs = [
                run
                for run in plan.runs
                if (run.data, run.column) == (data.label, column) and run.split is not None
            ]
            bad = {run.system for run in runs if run.name in lost}
            systems = _systems([run for run in runs if run.system not in bad], plan, out)
            if len(systems) < 2:
                why = "fewer than two systems could be run, so there is nothing to compare"
                left_out.append(Unavailable("", data.label, f"{column}: {why}"))
                continue
            proposed = next(
                (n for n in experiment.proposed if n in {each.name for each in systems}), None
            )
            found = Comparison(systems, primary=experiment.primary, proposed=proposed)
            compared[data.label] = found
            tables.append(
                {
                    "data": data.label,
                    "column": column,
                    "paper_data": paper.data_name(data.dataset.name),
                    # The paper ranks as printed, so only that column has its rows.
                    "paper": paper.rows(experiment.paper, data.dataset.name)
                    if column == "as printed" and experiment.split == "test"
                    else {},
                    "comparison": _portable(found.document(), out),
                }
            )
        claims += _claims(column, compared)
    shown = []
    if experiment.capsules:
        shown = [activations(run, out) for run in plan.runs if run.split and run.name not in lost]
    return {
        "format": FORMAT,
        "experiment": experiment.name,
        "title": experiment.title,
        "about": " ".join(experiment.about.split()),
        "quick": plan.quick,
        "tuned": dict(plan.tuned),
        "status": "incomplete" if failures else "finished",
        "split": experiment.split,
        "metrics": experiment.metrics,
        "primary": experiment.primary,
        "tables": tables,
        "claims": claims,
        "unavailable": [
            {"system": each.system, "data": each.data, "why": each.why} for each in left_out
        ],
        "activations": [each for each in shown if each is not None],
    }


def _systems(runs: Sequence[Run], plan: Plan, out: Path) -> list[SystemRuns]:
    """The results of runs by the row they belong to."""
    rows: dict[str, list[Run]] = {}
    for run in runs:
        rows.setdefault(run.system, []).append(run)
    found = []
    for name, own in rows.items():
        for run in own:
            check_ranks(run, plan, out)
        found.append(SystemRuns(name, tuple(read_user_results(rank_file(r, out)) for r in own)))
    return found


def _portable(document: dict[str, Any], out: Path) -> dict[str, Any]:
    """A comparison whose files are named relative to the experiment's folder."""
    for system in document["systems"]:
        system["files"] = [portable(file, out) for file in system["files"]]
    return document


def _claims(column: str, compared: dict[str, Comparison]) -> list[dict[str, Any]]:
    """The one claim of a column: the proposed system against all others on all Datasets.

    Its p-values are one family (Holm over systems and Datasets).
    """
    rows = []
    for data, comparison in compared.items():
        if comparison.proposed is None:
            continue
        rows += [
            (data, comparison, against, against.differences[comparison.primary])
            for against in comparison.against
        ]
    if not rows:
        return []
    tested = [place for place, (*_, own) in enumerate(rows) if own.p is not None]
    values = holm([rows[place][3].p or 0.0 for place in tested])
    adjusted = dict(zip(tested, map(float, values), strict=True))
    return [
        {
            "column": column,
            "primary": rows[0][1].primary,
            "tests": len(tested),
            "rows": [
                {
                    "data": data,
                    "proposed": comparison.proposed,
                    "other": against.other,
                    "difference": own.difference,
                    "interval": [own.interval.low, own.interval.high],
                    "relative": own.relative,
                    "relative_interval": None
                    if own.relative_interval is None
                    else [own.relative_interval.low, own.relative_interval.high],
                    "p": own.p,
                    "adjusted_p": adjusted.get(place),
                    "verdict": verdict(own, adjusted.get(place)),
                    "both": own.both,
                }
                for place, (data, comparison, against, own) in enumerate(rows)
            ],
        }
    ]
