"""The results for a comparison: from files, or from runs, which are evaluated first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from miracle_core.config import SeenRule
from miracle_core.data.dataset import Split
from miracle_core.data.manifest import read_manifest
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.evaluation.user_results import (
    TOP,
    UserResults,
    read_about,
    read_user_results,
    weights_hash,
    write_user_results,
)
from miracle_core.progress import SILENT, Progress
from miracle_core.runs.folder import RunFolder

Told = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """One run's user results, and names for its system.

    Attributes:
        results: what was found for each user.
        folder: the name of the run's folder, or of the folder above ``seed-N``.
        row: the system's name in its experiment; empty outside an experiment.
        experiment: the experiment's folder; empty outside one.
        column: the experiment's table that the run belongs to; empty outside one.
    """

    results: UserResults
    folder: str
    row: str = ""
    experiment: str = ""
    column: str = ""

    @property
    def system(self) -> tuple[object, ...]:
        """What all runs of one system share: their row, or all settings except the seed."""
        if self.row:
            return self.experiment, self.column, self.row
        return self.results.about.model, self.results.about.settings


def gather(
    paths: Sequence[Path],
    split: Split = "test",
    seen: SeenRule | None = None,
    *,
    progress: Progress = SILENT,
    told: Told = lambda _: None,
) -> list[Source]:
    """The user results of runs, of folders of runs (``seed-N``), and of files.

    A run's results are kept in its folder as ``users-SPLIT-RULE.parquet``. They are used again as
    long as its weights and data are the same.

    Args:
        paths: run folders, folders that hold ``seed-N`` runs, folders of such folders, files of
            ``--save-users``.
        split: what runs are evaluated on.
        seen: the seen rule that runs are ranked by; None takes each run's own.
        progress: shows the users done.
        told: called with messages about what is evaluated.

    Raises:
        InputError: a path is none of these, or what opening one raises.
    """
    sources = []
    for path in paths:
        if path.is_file():
            sources.append(Source(read_user_results(path), _name(path, path.stem)))
            continue
        for run in _runs(path):
            file = _at_hand(run, split, seen)
            if file is None:
                told(f"evaluating {run.path}")
                file = _evaluated(run, split, seen, progress)
            name = run.path.resolve().name
            sources.append(Source(read_user_results(file), _name(run.path, name)))
    return sources


def _name(path: Path, own: str) -> str:
    """The name of a run or file; for one of several seeds the name of the folder above it."""
    return path.resolve().parent.name if own.startswith("seed-") else own


def _runs(path: Path) -> list[RunFolder]:
    if RunFolder(path).config.is_file():
        return [RunFolder(path)]
    found = [RunFolder(each) for each in sorted(path.glob("seed-*"))]
    if not found:
        # Systems side by side.
        found = [RunFolder(each) for each in sorted(path.glob("*/seed-*"))]
    for run in found:
        if not run.config.is_file() and any(run.path.glob("users-*.parquet")):
            raise InputError(
                "has user results and no run, as of what an experiment evaluates as pre-trained",
                where=str(run.path),
                remedy="name the experiment's folder, or this one's file and the other folders",
            )
    found = [run for run in found if run.config.is_file()]
    if not found:
        raise InputError(
            "is no run, no folder of seed-N runs or of such folders, no experiment, and no file of "
            "user results",
            where=str(path),
            remedy="name runs, or files of: miracle evaluate RUN --save-users FILE",
        )
    return found


def kept_file(run: RunFolder, split: Split, seen: SeenRule) -> Path:
    """Where a run keeps its user results."""
    return run.path / f"users-{split}-{seen}.parquet"


def _at_hand(run: RunFolder, split: Split, seen: SeenRule | None) -> Path | None:
    """The file that a run keeps, if it belongs to the present weights and data."""
    rule = seen or run.settings().seen
    file = kept_file(run, split, rule)
    if not file.is_file():
        return None
    about = read_about(file)
    manifest = run.data / "manifest.json"
    weights = run.weights if about.weights == "best" else run.state
    # A run is evaluated with its last weights only as long as it has no best ones.
    current = weights.is_file() and (about.weights == "best" or not run.weights.is_file())
    fresh = (
        current
        and manifest.is_file()
        and about.fingerprint == read_manifest(manifest).fingerprint
        and about.weights_sha256 == weights_hash(run, about.weights)
        and (about.split, about.seen, about.rules) == (split, rule, None)
    )
    return file if fresh else None


def _evaluated(run: RunFolder, split: Split, seen: SeenRule | None, progress: Progress) -> Path:
    found = evaluate_run(run.path, split=split, seen=seen, keep_top=TOP, progress=progress)
    file = kept_file(run, split, found.seen)
    write_user_results(file, found)
    return file
