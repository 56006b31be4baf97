"""Several runs measured by one rule on one Dataset, so that their figures can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from miracle_core.config import SeenRule
from miracle_core.data.dataset import Split
from miracle_core.devices import AUTO
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import RunEvaluation, evaluate_run
from miracle_core.evaluation.metrics import DEFAULT_KS
from miracle_core.paths import as_path
from miracle_core.progress import SILENT, Progress
from miracle_core.ranking.rules import Rules
from miracle_core.runs.folder import RunFolder


def evaluate_runs(
    runs: Sequence[str | Path],
    data: str | Path | None = None,
    split: Split = "test",
    *,
    encoder: str | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    seen: SeenRule | None = None,
    keep_top: int = 0,
    device: str = AUTO,
    progress: Progress = SILENT,
    rules: Rules | None = None,
) -> list[RunEvaluation]:
    """Evaluate runs by :func:`miracle_core.evaluation.evaluate_run.evaluate_run`, in their order.

    Args:
        runs: the run folders, at least one.
        data: a Dataset folder that all of them are to read; None takes their own, which must then
            be the same.
        split: ``valid`` or ``test``.
        encoder: whose text features of ``data`` are read.
        ks: cut-offs of the metrics.
        seen: the seen rule for all; None takes that of their training, which must then be the same.
        keep_top: how many best items of each user are kept.
        device: where it is done, by name; ``auto`` takes a GPU if there is one.
        progress: shows the users done.
        rules: the rules for lists.

    Raises:
        InputError: a run is named twice, the runs are of different data or seen rules, or what
            ``evaluate_run`` raises. Data and rules are compared before anything is ranked.
    """
    paths = [as_path(run) for run in runs]
    _refuse_twice(paths)
    if len(paths) > 1:
        if data is None:
            _refuse_other_data(paths)
        if seen is None:
            _refuse_other_rules(paths)
    return [
        evaluate_run(
            path,
            data,
            split,
            encoder=encoder,
            ks=ks,
            seen=seen,
            keep_top=keep_top,
            device=device,
            progress=progress,
            rules=rules,
        )
        for path in paths
    ]


def labels(paths: Sequence[Path]) -> list[str]:
    """A short name for each run: its folder's, or its whole path where two are called the same."""
    names = [path.resolve().name for path in paths]
    return [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, paths, strict=True)
    ]


def _refuse_twice(paths: Sequence[Path]) -> None:
    found = [path.resolve() for path in paths]
    for place, path in enumerate(found):
        if path in found[:place]:
            raise InputError("is named twice", where=str(paths[place]), remedy="name it once")


def _refuse_other_data(paths: Sequence[Path]) -> None:
    first: str | None = None
    for path in paths:
        folder = RunFolder(path)
        if folder.settings().datasets:
            raise InputError(
                "is a pre-trained run: it has no Dataset of its own",
                where=str(path),
                remedy="name the Dataset that all runs are to be evaluated on: --data DATA",
            )
        fingerprint = folder.dataset(verify=False).manifest.fingerprint
        if first is None:
            first = fingerprint
        elif fingerprint != first:
            raise InputError(
                f"is of other data than {paths[0]} (fingerprint {fingerprint[:12]}, not "
                f"{first[:12]}): their figures can't be compared",
                where=str(path),
                remedy="name one Dataset that all of them can read with --data, or evaluate each "
                "by itself",
            )


def _refuse_other_rules(paths: Sequence[Path]) -> None:
    rules = [RunFolder(path).settings().seen for path in paths]
    for path, rule in zip(paths, rules, strict=True):
        if rule != rules[0]:
            raise InputError(
                f"ranks by the seen rule {rule}, and {paths[0]} by {rules[0]}: their figures can't "
                "be compared",
                where=str(path),
                remedy="say one rule for all: --seen as-printed or --seen leave-out",
            )
