"""Run folders found and summed up, without torch and without loading a model."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miracle_core.errors import InputError
from miracle_core.registry import DEFAULT, system
from miracle_core.runs.records import (
    CONFIG,
    METRICS,
    RESULT,
    WEIGHTS,
    Weights,
    json_object,
    read_metrics,
    read_result,
    rising,
)

# How deep below a folder runs are looked for, and how many folders are looked at at most.
DEPTH = 3
FOLDERS = 5000
_SKIPPED = {"node_modules", "__pycache__", "site-packages", "checkpoints", "tensorboard"}
# The Dataset beside a run's settings.
MANIFEST = "data/manifest.json"


@dataclass(frozen=True)
class Stamp:
    """What distinguishes a file from the one that it replaced.

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
        system: which system it is, as ``model.kind`` names it.
        title: that system's name for people; ``system`` itself if it is not registered here.
        fitted: whether the system learns at once, so that there are no epochs.
        pretrained: whether it was pre-trained, and so has no Dataset of its own.
        dataset: the Dataset's name, those that it was pre-trained on, or "" if it can't be read.
        metric: the validation metric that chooses the best epoch.
        best: its best value, or None before the first validation.
        best_epoch: the epoch that reached it, or 0.
        epochs: validations so far.
        planned: how many there may be at most, or 0 if the settings can't be read.
        last: the metric's value in the last of them.
        status: ``finished``, ``stopped early``, ``interrupted`` or ``no result yet``.
        kept: which weights there are to load.
        changed: seconds since 1970, the last sign of life.
    """

    path: Path
    system: str
    title: str
    fitted: bool
    pretrained: bool
    dataset: str
    metric: str
    best: float | None
    best_epoch: int
    epochs: int
    planned: int
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


def real_path(folder: Path) -> Path:
    """The folder's one path, without links; also of a folder that is not there any more."""
    try:
        # Unlike Path.resolve, this takes links that lead in a circle.
        return Path(os.path.realpath(folder))
    except ValueError:  # no path at all
        return folder


def is_run(folder: Path) -> bool:
    """Whether a folder looks like a run's: settings, and a Dataset beside them or in several."""
    # Unlike Path.is_file, this takes a folder that may not be entered for one without a run.
    if not os.path.isfile(folder / CONFIG):  # noqa: PTH113
        return False
    return os.path.isfile(folder / MANIFEST) or is_pretrained(folder)  # noqa: PTH113


def is_pretrained(folder: Path) -> bool:
    """Whether a folder's settings are those of a pre-training, which keeps no Dataset."""
    settings = _settings(folder)
    return bool(_names(settings.get("datasets"))) and "train" in settings


def is_dataset(folder: Path) -> bool:
    """Whether a folder looks like a Dataset's."""
    return os.path.isfile(folder / "manifest.json")  # noqa: PTH113


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
    settings, result = _settings(folder), read_result(folder)
    train = _section(settings, "train")
    metric = str(train.get("metric", ""))
    records = read_metrics(folder).records
    values = [
        (rising(metric, value), -epoch)
        for epoch, record in enumerate(records, 1)
        if isinstance(value := record["valid"].get(metric), int | float)
    ]
    highest, before = max(values, default=(None, 0))
    best = None if highest is None else rising(metric, highest)
    if not records and isinstance(value := _section(result, "valid").get(metric), int | float):
        best = value  # of a system without epochs
    names = (METRICS, RESULT, WEIGHTS["best"], CONFIG)
    signs = [stamp_of(folder / name) for name in names]
    kind = str(_section(settings, "model").get("kind", DEFAULT))
    title, fitted = _known(kind)
    pretrained = _names(settings.get("datasets"))
    planned = train.get("epochs", 0)
    return RunSummary(
        path=folder,
        system=kind,
        title=title,
        fitted=fitted,
        pretrained=bool(pretrained),
        dataset=", ".join(_names(result.get("datasets")) or [Path(p).name for p in pretrained])
        or str(json_object(folder / MANIFEST).get("name", "")),
        metric=metric,
        best=best,
        best_epoch=-before,
        epochs=len(records),
        planned=planned if isinstance(planned, int) else 0,
        last=rising(metric, values[-1][0]) if values and -values[-1][1] == len(records) else None,
        status=str(result.get("status", "no result yet")),
        kept=tuple(weights for weights, name in WEIGHTS.items() if stamp_of(folder / name)),
        changed=max((sign.changed / 1e9 for sign in signs if sign is not None), default=0.0),
    )


def _known(kind: str) -> tuple[str, bool]:
    """A system's name for people, and whether it learns at once."""
    try:
        spec = system(kind)
    except InputError:  # registered by a program that isn't at work here
        return kind, False
    return spec.title, spec.stages == ("fit",)


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
    """The settings as they stand there. Validating them would take pydantic, and their system."""
    try:
        return tomllib.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _names(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
