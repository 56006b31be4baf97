"""Run folders as files: found, summed up and watched, without loading a model."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# How deep below a folder runs are looked for, and how many folders are looked at at most.
DEPTH = 3
FOLDERS = 5000
_SKIPPED = {"node_modules", "__pycache__", "site-packages", "checkpoints", "tensorboard"}

# The two states of a training that its folder keeps.
Weights = Literal["best", "last"]
WEIGHTS: dict[Weights, str] = {
    "best": "model.safetensors",
    "last": "checkpoints/last/state.safetensors",
}


@dataclass(frozen=True)
class Metrics:
    """What a run's ``metrics.jsonl`` says.

    Attributes:
        records: one a validation, oldest first.
        damaged: whether a line could not be read; what follows it is left out.
    """

    records: tuple[dict[str, Any], ...]
    damaged: bool = False


@dataclass(frozen=True)
class Stamp:
    """What tells a file from the one that it replaced.

    Attributes:
        inode: its number in the file system.
        changed: nanoseconds since 1970, when it was written.
        size: bytes.
    """

    inode: int
    changed: int
    size: int


@dataclass(frozen=True)
class State:
    """Weights that a run keeps.

    Attributes:
        weights: which.
        epoch: the epoch that they are of, or 0 before the first validation.
        value: what its validation found for the metric, or None.
    """

    weights: Weights
    epoch: int
    value: float | None


@dataclass(frozen=True)
class RunSummary:
    """A run folder at a glance.

    Attributes:
        path: the folder.
        dataset: the Dataset's name, or "" if it can't be read.
        metric: the validation metric that chooses the best epoch.
        best: its best value, or None before the first validation.
        best_epoch: the epoch that reached it, or 0.
        epochs: validations so far.
        last: the metric's value in the last of them.
        status: ``finished``, ``stopped early``, ``interrupted`` or ``no result yet``.
        kept: which weights there are to load.
        changed: seconds since 1970, the last sign of life.
    """

    path: Path
    dataset: str
    metric: str
    best: float | None
    best_epoch: int
    epochs: int
    last: float | None
    status: str
    kept: tuple[Weights, ...]
    changed: float

    @property
    def ready(self) -> bool:
        """Whether there are weights to load."""
        return bool(self.kept)

    @property
    def states(self) -> list[State]:
        """The weights there are that differ."""
        best = State("best", self.best_epoch, self.best)
        last = State("last", self.epochs, self.last)
        same = len(self.kept) == 2 and 0 < self.best_epoch == self.epochs
        return [s for s in (best, last) if s.weights in self.kept and not (same and s is last)]


def stamp_of(file: Path) -> Stamp | None:
    """A file's stamp, or None if there is no such file or it can't be reached."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return Stamp(found.st_ino, found.st_mtime_ns, found.st_size)


def state_name(weights: Weights, epoch: int | None) -> str:
    """Which state of a training some weights are, in words."""
    return f"{weights} epoch ({epoch})" if epoch else f"{weights} epoch"


def is_run(folder: Path) -> bool:
    """Whether a folder looks like a run's: settings, and a Dataset beside them."""
    files = (folder / "config.toml", folder / "data" / "manifest.json")
    # Unlike Path.is_file, this takes a folder that may not be entered for one without a run.
    return all(os.path.isfile(file) for file in files)  # noqa: PTH113


def real_path(folder: Path) -> Path:
    """The folder's one path, without links; also of a folder that is not there any more."""
    try:
        # Unlike Path.resolve, this takes links that lead in a circle.
        return Path(os.path.realpath(folder))
    except ValueError:  # no path at all
        return folder


def find_runs(places: Iterable[Path]) -> list[RunSummary]:
    """The runs at or below some folders, the most recently changed first, each once."""
    found: dict[Path, RunSummary] = {}
    for place in places:
        for folder in _walk(place):
            real = real_path(folder)
            if real not in found and is_run(folder):
                found[real] = summarise(folder)
    return sorted(found.values(), key=lambda run: (-run.changed, str(run.path)))


def summarise(folder: Path) -> RunSummary:
    """A run folder at a glance; what can't be read is left empty."""
    settings = _settings(folder)
    metric = str(settings.get("train", {}).get("metric", ""))
    records = read_metrics(folder).records
    values = [
        (value, -epoch)
        for epoch, record in enumerate(records, 1)
        if isinstance(value := record["valid"].get(metric), int | float)
    ]
    best, before = max(values, default=(None, 0))
    manifest = _json(folder / "data" / "manifest.json")
    names = ("metrics.jsonl", "result.json", WEIGHTS["best"], "config.toml")
    signs = [stamp_of(folder / name) for name in names]
    return RunSummary(
        path=folder,
        dataset=str(manifest.get("name", "")),
        metric=metric,
        best=best,
        best_epoch=-before,
        epochs=len(records),
        last=values[-1][0] if values and -values[-1][1] == len(records) else None,
        status=str(read_result(folder).get("status", "no result yet")),
        kept=tuple(weights for weights, name in WEIGHTS.items() if stamp_of(folder / name)),
        changed=max((sign.changed / 1e9 for sign in signs if sign is not None), default=0.0),
    )


def metric_of(folder: Path) -> str:
    """The validation metric that chooses a run's best epoch, or ""."""
    return str(_settings(folder).get("train", {}).get("metric", ""))


def planned_epochs(folder: Path) -> int:
    """How many epochs a run may take at most, or 0 if its settings can't be read."""
    value = _settings(folder).get("train", {}).get("epochs", 0)
    return value if isinstance(value, int) else 0


def read_result(folder: Path) -> dict[str, Any]:
    """The run's final figures; empty while there are none."""
    return _json(folder / "result.json")


def read_metrics(folder: Path) -> Metrics:
    """The validations so far. A last line without its end is still being written: left out."""
    try:
        lines = (folder / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
    except OSError:
        return Metrics(())
    records: list[dict[str, Any]] = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            return Metrics(tuple(records), damaged=True)
        parts = isinstance(record, dict) and [record.get(k) for k in ("train", "valid", "capsules")]
        if not parts or not all(isinstance(part, dict) for part in parts):
            return Metrics(tuple(records), damaged=True)
        records.append(record)
    return Metrics(tuple(records))


def _walk(top: Path) -> Iterator[Path]:
    """Folders at and below ``top``, :data:`DEPTH` deep; a run's own folders are not entered."""
    waiting, looked = [(top, 0)], 0
    while waiting and looked < FOLDERS:
        folder, depth = waiting.pop(0)
        looked += 1
        yield folder
        if depth == DEPTH or is_run(folder):
            continue
        try:
            with os.scandir(folder) as entries:
                names = sorted(
                    entry.name
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and entry.name not in _SKIPPED
                )
        except (OSError, ValueError):
            continue
        waiting += [(folder / name, depth + 1) for name in names if not name.startswith(".")]


def _settings(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
