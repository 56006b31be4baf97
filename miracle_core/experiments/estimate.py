"""How long an experiment takes, from the epochs of runs that are there already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from miracle_core.config import Settings, flat
from miracle_core.data.manifest import read_manifest
from miracle_core.errors import MiracleError
from miracle_core.experiments.folder import progress
from miracle_core.experiments.plan import Plan, Run
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.records import CONFIG

# Settings that don't change how long an epoch takes.
_NO_MATTER = {
    *("preset", "data", "datasets", "pretrained", "encoder", "seen"),
    *("train.seed", "train.epochs", "train.patience", "train.metric", "train.test"),
    *("train.learning_rate", "train.weight_decay", "train.clip", "train.average"),
}
# Settings that decide how many epochs there are.
_STOPPING = ("train.epochs", "train.patience", "train.metric", "train.learning_rate")


@dataclass(frozen=True)
class Estimate:
    """How long one run takes.

    Attributes:
        run: which.
        state: ``missing``, ``begun``, ``trained``, ``done``, or ``elsewhere`` (it is copied).
        epoch: seconds of an epoch with its validation, or of the whole of a system without epochs;
            None where no such run was recorded.
        epochs: how many are to come.
        most: whether ``epochs`` is an upper limit; if not, it is taken from finished runs.
        seconds: until it is trained; None where that is not known.
    """

    run: Run
    state: str
    epoch: float | None
    epochs: int
    most: bool
    seconds: float | None

    def document(self) -> dict[str, Any]:
        """As ``--dry-run --json`` has it."""
        run = self.run
        return {
            "name": run.name,
            "state": self.state,
            **{k: v for k, v in run.definition().items() if k != "settings"},
            "model": run.settings.model.kind,
            "seconds_an_epoch": self.epoch,
            "epochs_to_come": self.epochs,
            "epochs_at_most": self.most,
            "seconds": self.seconds,
            "settings": run.definition()["settings"],
        }


@dataclass(frozen=True)
class _Recorded:
    """The measured speed and length of one recorded run, for others like it."""

    fingerprint: str
    settings: dict[str, Any]
    seconds: tuple[float, ...]
    finished: bool
    whole: float  # seconds of a run without epochs


def estimate(
    plan: Plan,
    out: Path | None,
    recorded: Sequence[Path] = (),
    runs: Sequence[Run] | None = None,
    elsewhere: Collection[str] = (),
) -> list[Estimate]:
    """How long each run takes to train, with its validations but without the ranking afterwards.

    Args:
        plan: the experiment.
        out: its folder, whose runs count as recorded; None where there is none yet.
        recorded: more folders in which runs lie, at any depth.
        runs: which of the plan's runs; None for all.
        elsewhere: the names of runs that are copied
            (:func:`miracle_core.experiments.reuse.done_elsewhere`).
    """
    folders = [each for each in (out, *recorded) if each is not None and each.is_dir()]
    known = list(_recorded(folders))
    data = {each.label: each.dataset.manifest.fingerprint for each in plan.data}
    return [
        Estimate(run, "elsewhere", None, 0, False, 0.0)
        if run.name in elsewhere
        else _estimate(run, data.get(run.data, ""), known, out)
        for run in (plan.runs if runs is None else runs)
    ]


def _estimate(run: Run, fingerprint: str, known: Sequence[_Recorded], out: Path | None) -> Estimate:
    now = None if out is None else progress(run, out)
    state = "missing" if now is None else now.state
    if state in ("trained", "done") or run.kind == "zero-shot":
        return Estimate(run, state, None, 0, False, 0.0)
    if run.kind == "pretrain":
        # A pre-training keeps no copy of its data; its settings name the folders.
        fingerprint = _folders(run.settings)
    own = _settings(run.settings)
    like = [
        each
        for each in known
        if each.fingerprint == fingerprint and _speed(each.settings) == _speed(own)
    ]
    if "fit" in run.settings.spec.stages:
        times = [each.whole for each in like if each.finished]
        whole = fmean(times) if times else None
        return Estimate(run, state, whole, 0, False, whole)
    ended = [
        len(each.seconds)
        for each in like
        if each.finished and all(each.settings[name] == own[name] for name in _STOPPING)
    ]
    epochs = round(fmean(ended)) if ended else run.settings.train.epochs
    epochs = max(0, epochs - (0 if now is None else now.epochs))
    seconds = [second for each in like for second in each.seconds]
    epoch = fmean(seconds) if seconds else None
    return Estimate(run, state, epoch, epochs, not ended, None if epoch is None else epoch * epochs)


def _recorded(folders: Iterable[Path]) -> Iterable[_Recorded]:
    """The recorded speed of each run below some folders; runs that can't be read are skipped."""
    seen = set()
    for folder in folders:
        for config in sorted(folder.rglob(CONFIG)):
            run = RunFolder(config.parent)
            if run.path.resolve() in seen:
                continue
            seen.add(run.path.resolve())
            try:
                settings = run.settings()
                result = run.read_result()
                manifest = run.data / "manifest.json"
                at = read_manifest(manifest).fingerprint if manifest.is_file() else ""
            except MiracleError:  # no run of this version: it tells nothing
                continue
            seconds = tuple(float(record["seconds"]) for record in run.history())
            finished = result is not None and result["status"] != "interrupted"
            whole = float((result or {}).get("seconds", 0.0))
            fingerprint = at or _folders(settings)
            yield _Recorded(fingerprint, _settings(settings), seconds, finished, whole)


def _folders(settings: Settings) -> str:
    return "\n".join(str(Path(each).resolve()) for each in settings.datasets)


def _settings(settings: Settings) -> dict[str, Any]:
    return flat(settings.model_dump(mode="json"))


def _speed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide how long an epoch takes."""
    return {key: value for key, value in settings.items() if key not in _NO_MATTER}


@dataclass(frozen=True)
class Total:
    """All runs together.

    Attributes:
        seconds: of those whose time is known, one after another.
        unknown: how many are not known.
        most: whether some of it is an upper limit.
    """

    seconds: float
    unknown: int
    most: bool


def total(estimates: Sequence[Estimate]) -> Total:
    """Add estimates up."""
    return Total(
        sum(each.seconds for each in estimates if each.seconds is not None),
        sum(each.seconds is None for each in estimates),
        any(each.most and each.seconds for each in estimates),
    )
