"""Runs that another experiment has done already: copied, not trained again.

MIRACLE with its defaults is a row of table 2, of table 3 (L=2), of table 4 (C=32) and of figure 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from miracle_core.data.dataset import Split
from miracle_core.experiments.folder import Kept, KeptData, check_ranks, progress, read_kept
from miracle_core.experiments.plan import RUNS, Plan, Run
from miracle_core.report.gather import kept_file
from miracle_core.runs.folder import RunFolder

# The names of a run's row, table and Dataset: the same run may have others in two experiments.
_NAMES = ("system", "column", "data")


def done_elsewhere(plan: Plan, out: Path | None, folders: Sequence[Path]) -> dict[str, Path]:
    """The runs that are missing in a folder and done in others.

    Two runs are the same if their settings, seed, seen rule, split, and Dataset with its text
    features are. Runs that start from a pre-training are not searched for: they would need that
    one, too.

    Args:
        plan: the experiment.
        out: its folder; None where there is none yet.
        folders: of other experiments; if several have a run, the first one counts.

    Returns:
        The run folder elsewhere, by the run's name here.

    Raises:
        InputError: one of ``folders`` is no experiment's folder.
    """
    others = [(folder, read_kept(folder)) for folder in folders]
    found: dict[str, Path] = {}
    for run in plan.runs:
        if run.kind != "train" or run.needs:
            continue
        if out is not None and progress(run, out).state == "done":
            continue
        manifest = plan.at(run.data).dataset.manifest
        features = {name: entry.sha256 for name, entry in manifest.features.items()}
        definition = run.definition()
        for folder, kept in others:
            path = next(
                (
                    folder / RUNS / name
                    for name, theirs, data in _trained(kept)
                    if (data.fingerprint, data.features) == (manifest.fingerprint, features)
                    and _identity(run.filled(theirs)) == _identity(definition)
                    and _is_done(folder / RUNS / name, run)
                ),
                None,
            )
            if path is not None:
                found[run.name] = path
                break
    return found


def take(plan: Plan, out: Path, runs: Iterable[Run], found: Mapping[str, Path]) -> list[str]:
    """Copy runs from elsewhere into an experiment's folder; the caller must hold its lock.

    Args:
        plan: the experiment.
        out: its folder, begun.
        runs: those of this share, which may be copied.
        found: from :func:`done_elsewhere`.

    Returns:
        The names of the runs that were copied.

    Raises:
        InputError: user results there are damaged, or don't belong to the weights beside them.
    """
    taken = []
    for run in runs:
        if run.name in found:
            RunFolder(found[run.name]).copy_to(run.folder(out))
            check_ranks(run, plan, out)
            taken.append(run.name)
    return taken


def _identity(definition: Mapping[str, Any]) -> dict[str, Any]:
    """All that the figures of a run depend on, besides the data."""
    return {key: value for key, value in definition.items() if key not in _NAMES}


def _trained(kept: Kept) -> Iterator[tuple[str, Mapping[str, Any], KeptData]]:
    """The trained runs of a folder that start from no other: name, definition, Dataset."""
    for name, definition in kept.runs.items():
        if definition["kind"] == "train" and not definition["needs"]:
            yield name, definition, kept.data[definition["data"]]


def _is_done(path: Path, run: Run) -> bool:
    folder = RunFolder(path)
    result = folder.read_result()
    if result is None or result["status"] == "interrupted":
        return False
    return kept_file(folder, cast(Split, run.split), run.seen).is_file()
