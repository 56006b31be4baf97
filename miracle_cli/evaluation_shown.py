"""What ``miracle evaluate`` prints: one run, or several in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from miracle_cli.output import print_fields, print_table
from miracle_cli.seen import SEEN

if TYPE_CHECKING:
    from miracle_core.evaluation.checks import Check
    from miracle_core.evaluation.evaluate_run import RunEvaluation


def show_run(found: RunEvaluation) -> None:
    """One run beside what needs no learning."""
    own = found.found
    names = list(own.metrics)
    print_table(
        ["", *names],
        [
            [label, *(f"{metrics[name]:.4f}" for name in names)]
            for label, metrics in (
                (found.run.folder.path.name, own.metrics),
                *((name, other.metrics) for name, other in found.references.items()),
            )
        ],
        title=f"{own.dataset} ({own.split})",
        right=names,
    )
    fields: dict[str, object] = {
        "users": len(own.users),
        "items": own.n_items,
        "items the history holds": SEEN[found.seen],
        "weights": _weights(found),
        **_figures(found),
        "seconds": f"{own.seconds:.2f}",
    }
    if found.zero_shot:
        fields = {"zero-shot": f"trained on {found.run.origin.names}", **fields}
    print_fields(fields)


def show_runs(labels: Sequence[str], runs: Sequence[RunEvaluation]) -> None:
    """Several runs on one Dataset, and what needs no learning."""
    first = runs[0].found
    names = list(first.metrics)

    def row(label: str, model: str, metrics: dict[str, float], seconds: str) -> list[str]:
        return [label, model, *(f"{metrics[name]:.4f}" for name in names), seconds]

    rows = [
        row(label, run.run.spec.name, run.found.metrics, f"{run.found.seconds:.2f}")
        for label, run in zip(labels, runs, strict=True)
    ]
    # Popularity and chance are the same for all; nearness of text is a run's own encoder's.
    told: dict[str, dict[str, float]] = {}
    for label, run in zip(labels, runs, strict=True):
        for name, reference in run.references.items():
            if told.setdefault(name, reference.metrics) != reference.metrics:
                told[f"{name} of {label}"] = reference.metrics
    rows += [row(name, "", metrics, "") for name, metrics in told.items()]
    print_table(
        ["", "model", *names, "seconds"],
        rows,
        title=f"{first.dataset} ({first.split})",
        right=[*names, "seconds"],
    )
    fields: dict[str, object] = {
        "users": len(first.users),
        "items": first.n_items,
        "items the history holds": SEEN[runs[0].seen],
    }
    for label, run in zip(labels, runs, strict=True):
        if run.run.weights_from == "last":
            fields[f"weights of {label}"] = _weights(run)
        if run.zero_shot:
            fields[f"zero-shot: {label}"] = f"trained on {run.run.origin.names}"
    print_fields(fields)


def show_checks(checks: Sequence[Check]) -> None:
    """Each demand and how it went."""
    print_table(
        ["", "metric", "demand", "value", "difference", "95 % interval", ""],
        [
            [
                check.run,
                check.metric,
                check.demand,
                f"{check.value:.4f}",
                f"{check.figures['difference']:+.4f}" if "base" in check.figures else "",
                "{:+.4f} to {:+.4f}".format(*check.figures["interval"])
                if "base" in check.figures
                else "",
                "fails" if check.failed else "holds",
            ]
            for check in checks
        ],
        title="what was asked",
        right=["value", "difference"],
    )


def _weights(found: RunEvaluation) -> str:
    """Which weights these are."""
    if "fit" in found.run.spec.stages:
        return "fitted to the training part"
    return {
        "best": "of the best validation",
        "last": "of the last checkpoint; no validation has been yet",
    }[found.run.weights_from]


def _figures(found: RunEvaluation) -> dict[str, str]:
    """How many interests users have, and of capsules how many are in use."""
    told = {name: f"{value:.4g}" for name, value in found.found.figures().items()}
    if "capsules_in_use" in told:
        told["capsules_in_use"] += f" of {found.run.system.n_interests}"
    return {name.replace("_", " "): value for name, value in told.items()}
