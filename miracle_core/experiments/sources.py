"""Results to compare, of runs or of experiments, whose rows keep their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from miracle_core.config import SeenRule
from miracle_core.data.dataset import Split
from miracle_core.errors import InputError
from miracle_core.evaluation.user_results import read_user_results
from miracle_core.experiments.folder import PLAN, Kept, read_kept
from miracle_core.experiments.plan import RUNS
from miracle_core.experiments.tables import QUICK, searched
from miracle_core.progress import SILENT, Progress
from miracle_core.report.gather import Source, Told, gather, kept_file
from miracle_core.runs.folder import RunFolder


@dataclass(frozen=True)
class Gathered:
    """What was found in folders and files.

    Attributes:
        sources: the results, one entry a run.
        proposed: the systems that the one experiment names for its claim; empty where results are
            of several experiments or of none.
        primary: the metric of that claim; None likewise.
        notes: what a reader must know of the experiments: quick trials, searched settings.
    """

    sources: list[Source]
    proposed: tuple[str, ...]
    primary: str | None
    notes: tuple[str, ...]


def sources_of(
    paths: Sequence[Path],
    split: Split | None = None,
    seen: SeenRule | None = None,
    *,
    progress: Progress = SILENT,
    told: Told = lambda _: None,
) -> Gathered:
    """The user results of runs, files, and experiments.

    A path may be the folder of an experiment, or any folder in it: its runs, those of one Dataset,
    a column, a row, a run. Runs that were evaluated as pre-trained are read as well. A row with a
    run that has not ended is left out and named, since it would have fewer seeds than planned.

    Args:
        paths: as :func:`~miracle_core.report.gather.gather` takes them, and those above.
        split: what runs are evaluated on; None takes the experiment's, else the test part.
        seen: the seen rule that runs are ranked by; None takes each run's own.
        progress: shows the users done.
        told: called with messages about what is evaluated and what is left out.

    Raises:
        InputError: a path is none of these, an experiment has no run that ended, or what
            :func:`~miracle_core.report.gather.gather` raises.
    """
    found: list[Source] = []
    experiments: dict[Path, Kept] = {}
    others = False
    for path in paths:
        root = _experiment(path)
        if root is None:
            others = True
            found += gather([path], split or "test", seen, progress=progress, told=told)
            continue
        kept = experiments.setdefault(root, read_kept(root))
        for name, run in _ended(path, root, kept, told):
            source = _source(root / RUNS / name, run, split, seen, progress, told)
            row = replace(source, row=run["system"], column=run["column"], experiment=str(root))
            found.append(row)
    notes = tuple(note for kept in experiments.values() for note in _notes(kept))
    if others or len(experiments) != 1:
        return Gathered(found, (), None, notes)
    (kept,) = experiments.values()
    return Gathered(found, tuple(kept.proposed), kept.primary, notes)


def _notes(kept: Kept) -> Iterator[str]:
    if kept.quick:
        yield QUICK
    if kept.tuned:
        yield searched(kept.tuned)


def _experiment(path: Path) -> Path | None:
    """The experiment's folder that a path is or lies in; None if there is none."""
    if path.is_file():
        return None
    path = path.resolve()
    for folder in (path, *path.parents):
        if (folder / PLAN).is_file() and (folder == path or path.is_relative_to(folder / RUNS)):
            return folder
    return None


def _ended(path: Path, root: Path, kept: Kept, told: Told) -> list[tuple[str, dict[str, Any]]]:
    """The runs of an experiment that lie in a folder, of rows whose runs there have all ended."""
    within = path.resolve()
    runs = {
        name: run
        for name, run in kept.runs.items()
        if run["split"] and (root / RUNS / name).is_relative_to(within)
    }
    if not runs:
        raise InputError(
            "holds no run of the experiment whose users were ranked",
            where=str(path),
            remedy=f"name {root}, or a folder of a run in it",
        )
    rows: dict[tuple[str, str, str], list[str]] = {}
    order = {system: place for place, system in enumerate(kept.rows)}
    for name, run in sorted(runs.items(), key=lambda each: order.get(each[1]["system"], 0)):
        rows.setdefault((run["data"], run["column"], run["system"]), []).append(name)
    kept_names: list[str] = []
    for (data, column, system), names in rows.items():
        missing = [name for name in names if not _file(root / RUNS / name, runs[name]).is_file()]
        if missing:
            told(
                f"{system} on {data}, {column}, is left out: {len(missing)} of its {len(names)} "
                "runs have not ended"
            )
        else:
            kept_names += names
    if not kept_names:
        raise InputError(
            "no row of the experiment has ended",
            where=str(path),
            remedy="give the experiment's command again: it does what is missing",
        )
    return [(name, runs[name]) for name in kept_names]


def _file(folder: Path, run: dict[str, Any]) -> Path:
    return kept_file(RunFolder(folder), run["split"], run["seen"])


def _source(
    folder: Path,
    run: dict[str, Any],
    split: Split | None,
    seen: SeenRule | None,
    progress: Progress,
    told: Told,
) -> Source:
    split, seen = split or run["split"], seen or run["seen"]
    if run["kind"] == "train":
        (source,) = gather([folder], split, seen, progress=progress, told=told)
        return source
    if (split, seen) != (run["split"], run["seen"]):
        raise InputError(
            f"was evaluated as pre-trained on {run['split']} by {run['seen']}, and there is no run "
            f"to evaluate on {split} by {seen}",
            where=str(folder),
            remedy="leave out --split and --seen, or name the other folders",
        )
    return Source(read_user_results(_file(folder, run)), folder.parent.name)
