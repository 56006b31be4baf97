"""Settings that ``miracle tune`` found, for the rows of an experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miracle_core import registry
from miracle_core.config import flat, make_settings, nested, read_values
from miracle_core.errors import InputError
from miracle_core.experiments.definition import SystemRow
from miracle_core.paths import as_path
from miracle_core.tuning.records import BEST, STUDY, StudyRecord, read_record, read_trials

# Settings that are not taken from a study. Kind and seed belong to each run, devices and layout to
# the machine. How long and by which metric to train is the experiment's, for all its systems alike:
# a short search must not make its row train for less time.
_RUNS_OWN = (
    "model.kind",
    *(
        f"train.{name}"
        for name in ("seed", "test", "devices", "layout", "epochs", "patience", "metric")
    ),
)


@dataclass(frozen=True)
class Tuned:
    """The best settings of one study.

    Attributes:
        folder: the study's.
        record: what it is a study of.
        trials: how many trials have ended, the failed ones included.
        values: the best trial's settings that were searched or differ from the defaults, nested.
    """

    folder: Path
    record: StudyRecord
    trials: int
    values: Mapping[str, Any]


def read_tuned(folder: str | Path, rows: Sequence[SystemRow]) -> dict[str, Tuned]:
    """The studies of an experiment's rows, by the row's name.

    A row's study is the subfolder that is called like the row (``comirec-dr``), or else like its
    system (``comirec``). One study may serve several rows.

    Args:
        folder: the studies, a folder each.
        rows: the experiment's.

    Raises:
        InputError: there is no study for any row, one is of another system than its row, has no
            trial that finished, or has a trial that has not ended.
    """
    folder = as_path(folder)
    read: dict[Path, Tuned] = {}
    found: dict[str, Tuned] = {}
    for row in rows:
        path = _study_of(row, folder)
        if path is None:
            continue
        if path not in read:
            read[path] = _read(path)
        if read[path].record.system != row.kind:
            raise InputError(
                f"is a study of {read[path].record.system}, and the row {row.name!r} is of "
                f"{row.kind}",
                where=str(path),
                remedy="name the folder like the row or the system that it is for",
            )
        found[row.name] = read[path]
    if not found:
        names = sorted({name for row in rows for name in (row.slug, row.kind)})
        raise InputError(
            "holds no study of any row",
            where=str(folder),
            remedy=f"name each study's folder like its row or system: {', '.join(names)}",
        )
    return found


def notes(
    tuned: Mapping[str, Tuned], rows: Sequence[SystemRow], fingerprints: Mapping[str, str]
) -> Iterator[str]:
    """What a reader must know of tuned settings: which rows have none, and where they come from.

    Args:
        tuned: the studies by row.
        rows: the experiment's rows that can be run.
        fingerprints: of the experiment's Datasets, by label.
    """
    without = [
        row.name
        for row in rows
        if row.name not in tuned and registry.system(row.kind).settings_class().SEARCH
    ]
    if without:
        yield f"no study of {', '.join(without)}: they have the experiment's settings"
    trials = {each.trials for each in tuned.values()}
    if len(trials) > 1:
        counts = ", ".join(f"{name} {each.trials}" for name, each in tuned.items())
        yield f"the studies have different numbers of trials ({counts})"
    for each in {study.folder: study for study in tuned.values()}.values():
        if each.record.fingerprint not in fingerprints.values():
            yield f"{each.folder} was searched on {each.record.dataset}, which is no --data"


def _study_of(row: SystemRow, folder: Path) -> Path | None:
    for name in (row.slug, row.kind):
        if (folder / name / STUDY).is_file():
            return folder / name
    return None


def _read(folder: Path) -> Tuned:
    record = read_record(folder)
    table = read_trials(folder)
    if (table["state"] == "running").any():
        raise InputError(
            "has a trial that has not ended",
            where=str(folder),
            remedy="let its miracle tune end, or give that command again",
        )
    if not (table["state"] == "finished").any() or not (folder / BEST).is_file():
        raise InputError(
            "has no trial that finished", where=str(folder), remedy="tune again, elsewhere"
        )
    default = make_settings({"model": {"kind": record.system}}, where=str(folder))
    defaults = flat(default.model_dump(mode="json"))
    values = {
        name: value
        for name, value in flat(read_values(folder / BEST)).items()
        if "." in name
        and name not in _RUNS_OWN
        and (name in record.space or value != defaults.get(name))
    }
    return Tuned(folder, record, len(table), nested(values))
