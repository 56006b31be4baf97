"""An experiment's folder: what it was begun with, and how far its runs are.

    plan.json                       version, Datasets, every run with its settings
    runs/DATA/COLUMN/SYSTEM/seed-N/ a run folder, with the user results of its evaluation
    experiment.json                 what was found
    table.md, .csv, .tex            the same as tables

An experiment of statistics has the tables and ``experiment.json`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from miracle_core.config import flat
from miracle_core.errors import InputError
from miracle_core.evaluation.user_results import read_user_results
from miracle_core.experiments.plan import RUNS, Data, Plan, Run
from miracle_core.files import read_json, sha256_file, write_json
from miracle_core.locks import one_writer
from miracle_core.paths import portable
from miracle_core.report.gather import kept_file
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.records import Weights

FORMAT: Literal[1] = 1
PLAN = "plan.json"
RESULT = "experiment.json"
_ELSEWHERE = "choose another --out, or ask for what the folder was begun with"
# Settings of a run that may be filled in when it begins.
_RESOLVED = ("encoder", "data", "datasets", "pretrained")


class KeptData(BaseModel):
    """A Dataset as the folder knows it.

    Attributes:
        name: the Dataset's name.
        fingerprint: of its catalogue, sequences and split.
        features: the hash of each encoder's text features.
        path: where it lay, relative to the folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    fingerprint: str
    features: dict[str, str]
    path: str


class Kept(BaseModel):
    """What a folder was begun with (``plan.json``).

    Attributes:
        format: version of the folder's form.
        experiment: the experiment's name.
        quick: whether it is a quick trial.
        split: whose held-out items are ranked.
        primary: the metric of the claim.
        proposed: the systems of the claim.
        data: the Datasets by label.
        domains: those of pre-trainings by label.
        runs: what makes each run, by name.
        rows: the systems in the order of the tables; empty in a folder of before they were kept.
        tuned: how many trials the study of a row had.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = FORMAT
    experiment: str
    quick: bool
    split: str
    primary: str
    proposed: list[str]
    data: dict[str, KeptData]
    domains: dict[str, KeptData]
    runs: dict[str, dict[str, Any]]
    rows: list[str] = Field(default=[])
    tuned: dict[str, int] = Field(default={})


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        state: ``missing``, ``begun``, ``trained`` (not ranked yet), or ``done``.
        epochs: validated so far.
        best: the best validation so far, by the run's metric; None before the first.
        seconds: training and validations so far.
    """

    state: Literal["missing", "begun", "trained", "done"]
    epochs: int
    best: float | None
    seconds: float


def rank_file(run: Run, out: Path) -> Path:
    """Where a run's user results lie.

    Args:
        run: not a pre-training.
        out: the experiment's folder.
    """
    assert run.split is not None
    return kept_file(RunFolder(run.folder(out)), run.split, run.seen)


def progress(run: Run, out: Path) -> Progress:
    """How far a run is, as its folder says."""
    folder = RunFolder(run.folder(out))
    result = folder.read_result() or {}
    records = folder.history()
    seconds = sum(record["seconds"] for record in records) or result.get("seconds", 0.0)
    # The training marks its best epoch: the lowest value of a loss, the highest of a metric.
    metric = run.settings.train.metric
    best = next((each["valid"].get(metric) for each in reversed(records) if each["best"]), None)
    if run.kind != "pretrain" and rank_file(run, out).is_file():
        return Progress("done", len(records), best, seconds)
    if result and result["status"] != "interrupted":
        state: Literal["done", "trained"] = "done" if run.kind == "pretrain" else "trained"
        return Progress(state, len(records), best, seconds)
    begun = folder.config.is_file()
    return Progress("begun" if begun else "missing", len(records), best, seconds)


def read_kept(out: Path) -> Kept:
    """What a folder was begun with.

    Raises:
        InputError: it is no experiment's folder, is of another version, or can't be read.
    """
    path = out / PLAN
    if not path.is_file():
        raise InputError(
            f"is not an experiment's folder (it has no {PLAN})",
            where=str(out),
            remedy="make one with: miracle experiment NAME --data DATA --out DIR",
        )
    values = read_json(path)
    if isinstance(values, dict) and values.get("format") != FORMAT:
        raise InputError(
            f"is of format {values.get('format')!r}, and this version reads format {FORMAT}",
            where=str(path),
            remedy="use the version of miracle that wrote it, or choose another --out",
        )
    try:
        return Kept.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"can't be read: {place}: {first['msg']}",
            where=str(path),
            remedy="it was changed by hand: bring it back, or choose another --out",
        ) from error


def begin(plan: Plan, out: Path) -> None:
    """Make an experiment's folder, or check that it belongs to this experiment.

    More Datasets, systems or seeds may be added to a folder later. Settings that the version that
    began it did not have yet are taken to be at their defaults there.

    Raises:
        InputError: the folder holds something else, or was begun by another version, by another
            experiment, or with other Datasets or settings, which the message names; or a run's user
            results can't be read.
    """
    if out.exists() and not out.is_dir():
        raise InputError("is not a folder", where=str(out), remedy="choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    with one_writer(out / PLAN):
        if (out / PLAN).is_file():
            kept = read_kept(out)
            check_same(kept, plan, out)
        elif any(path.name != f".{PLAN}.lock" for path in out.iterdir()):
            raise InputError(
                f"already holds something, and no experiment (it has no {PLAN})",
                where=str(out),
                remedy="choose another --out",
            )
        now = kept_of(plan, out).model_dump(mode="json")
        if not (out / PLAN).is_file() or read_json(out / PLAN) != now:
            write_json(out / PLAN, now)
    check_files(plan, out)


def kept_of(plan: Plan, out: Path) -> Kept:
    """What the folder keeps of a plan."""
    return Kept(
        experiment=plan.experiment.name,
        quick=plan.quick,
        split=plan.experiment.split,
        primary=plan.experiment.primary,
        proposed=plan.experiment.proposed,
        data={each.label: kept_data(each, out) for each in plan.data},
        domains={each.label: kept_data(each, out) for each in plan.domains},
        runs={run.name: run.definition() for run in plan.runs},
        rows=list(dict.fromkeys(run.system for run in plan.runs)),
        tuned=dict(plan.tuned),
    )


def kept_data(data: Data, out: Path) -> KeptData:
    """What a folder keeps of a Dataset."""
    manifest = data.dataset.manifest
    return KeptData(
        name=data.dataset.name,
        fingerprint=manifest.fingerprint,
        features={name: entry.sha256 for name, entry in manifest.features.items()},
        path=portable(data.dataset.folder, out),
    )


def check_same(kept: Kept, plan: Plan, out: Path) -> None:
    """Refuse to go on with another experiment, other data or other settings.

    Raises:
        InputError: naming what the folder has and what was asked for.
    """
    now = kept_of(plan, out)
    for what, then, asked in (
        ("experiment", kept.experiment, now.experiment),
        ("split", kept.split, now.split),
        ("primary metric", kept.primary, now.primary),
        ("proposed systems", kept.proposed, now.proposed),
        ("--quick", kept.quick, now.quick),
    ):
        if then != asked:
            raise InputError(
                f"{what}: the folder was begun with {_words(then)}, and this is {_words(asked)}",
                where=str(out / PLAN),
                remedy=_ELSEWHERE,
            )
    for option, before, today in (
        ("--data", kept.data, now.data),
        ("--pretrain", kept.domains, now.domains),
    ):
        for label, one in before.items():
            _check_data(option, label, one, today.get(label), out)
    missing = [name for name in kept.runs if name not in now.runs]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"the folder was begun with the run {missing[0]}{more}, and this asks for fewer",
            where=str(out / PLAN),
            remedy="name the same --data, --pretrain, --seeds, or more; or choose another --out",
        )
    for name, kept_run in kept.runs.items():
        different = _first_difference(plan.run(name).filled(kept_run), now.runs[name])
        if different is not None:
            what, then, asked = different
            raise InputError(
                f"{what} of the run {name}: the folder was begun with {_words(then)}, and this is "
                f"{_words(asked)}",
                where=str(out / PLAN),
                remedy=_ELSEWHERE,
            )


def _check_data(option: str, label: str, then: KeptData, now: KeptData | None, out: Path) -> None:
    if now is None:
        raise InputError(
            f"the folder was begun with {option} {then.name!r}, and this does not name it",
            where=str(out / PLAN),
            remedy="name it again (more may be added), or choose another --out",
        )
    if then.fingerprint != now.fingerprint:
        raise InputError(
            f"the data of {label!r} have changed: {then.fingerprint[:16]} when the folder was "
            f"begun, and {now.fingerprint[:16]} in {now.path}",
            where=str(out / PLAN),
            remedy="bring the Dataset back, or choose another --out",
        )
    for encoder, digest in then.features.items():
        today = now.features.get(encoder)
        if today != digest:
            raise InputError(
                f"the text features {encoder!r} of {label!r} have changed: {digest[:16]} when the "
                f"folder was begun, and {'none' if today is None else today[:16]} in {now.path}",
                where=str(out / PLAN),
                remedy="encode again as before, or choose another --out",
            )


def _first_difference(
    then: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[str, Any, Any] | None:
    """The first thing that two definitions of a run say differently."""
    before, today = (_by_name(each) for each in (then, now))
    for name in sorted({*before, *today}):
        if before.get(name) != today.get(name):
            return name, before.get(name), today.get(name)
    return None


def _by_name(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with its settings by their own names."""
    settings = definition.get("settings")
    own = dict(settings) if isinstance(settings, Mapping) else {}
    return {k: v for k, v in definition.items() if k != "settings"} | own


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value is None else str(value)


def check_files(plan: Plan, out: Path) -> None:
    """Refuse runs and user results in the folder that don't agree with the plan.

    Raises:
        InputError: user results that can't be read or are of another run, or a run folder of other
            settings.
    """
    for run in plan.runs:
        folder = RunFolder(run.folder(out))
        if run.kind != "zero-shot" and folder.config.is_file():
            _check_settings(run, folder)
        if run.kind != "pretrain" and rank_file(run, out).is_file():
            check_ranks(run, plan, out)


def _check_settings(run: Run, folder: RunFolder) -> None:
    then, now = (
        flat(settings.model_dump(mode="json", exclude=set(_RESOLVED)))
        for settings in (folder.settings(), run.settings)
    )
    different = _first_difference(then, now)
    if different is not None:
        what, before, today = different
        raise InputError(
            f"is a run with {what} {_words(before)}, and the experiment has {_words(today)} there",
            where=str(folder.config),
            remedy="it is of another experiment: move it away",
        )


def _weights(run: Run, out: Path, which: Weights) -> str:
    """The hash of the weights that a run is ranked with now."""
    folder = RunFolder(run.folder(out) if run.kind == "train" else out / RUNS / run.needs)
    file = folder.weights if which == "best" else folder.state
    return sha256_file(file) if file.is_file() else "none"


def check_ranks(run: Run, plan: Plan, out: Path) -> None:
    """Refuse user results that are of another run than the plan's.

    Raises:
        InputError: they are, or the file is damaged.
    """
    file = rank_file(run, out)
    about = read_user_results(file).about
    for what, then, now in (
        ("model", about.model, run.settings.model.kind),
        ("seed", about.seed, run.seed),
        ("split", about.split, run.split),
        ("seen rule", about.seen, run.seen),
        ("data", about.fingerprint, plan.at(run.data).dataset.manifest.fingerprint),
        ("weights", about.weights_sha256, _weights(run, out, about.weights)),
    ):
        if then != now:
            raise InputError(
                f"are results of the {what} {_words(then)}, and the run {run.name} has "
                f"{_words(now)}",
                where=str(file),
                remedy="remove the file: the run is then ranked again",
            )
