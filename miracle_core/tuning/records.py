"""The files of a study besides its trials: its description and its table. Without Optuna."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from miracle_core.config import Range, Settings, flat, with_defaults
from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError
from miracle_core.files import read_json, replacing

if TYPE_CHECKING:
    import pandas as pd

FORMAT: Literal[1] = 1
STUDY = "study.json"
TRIALS = "trials.csv"
BEST = "best.toml"
# Settings that don't belong to a study's description: paths, and the test part, which is not read.
_ELSEWHERE = ("data", "datasets", "pretrained", "train.test")


class StudyRecord(BaseModel):
    """The description of a study, ``study.json``. Commands share a study only if it is the same.

    Attributes:
        format: version of the folder's form.
        system: which system.
        dataset: the Dataset's name.
        fingerprint: of its catalogue, sequences and split.
        features: the text encoder whose features are read; None of a system that reads no text.
        metric: the validation metric that trials are judged by.
        space: what is searched, by setting.
        settings: every other setting, by dotted name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = FORMAT
    system: str
    dataset: str
    fingerprint: str
    features: dict[str, Any] | None
    metric: str
    space: dict[str, dict[str, Any]]
    settings: dict[str, Any]

    def filled(self, today: StudyRecord, settings: Settings) -> StudyRecord:
        """The description, written by an older version, with the settings that are new.

        They are at their defaults: the older version did not have them.

        Args:
            today: the description that this version would write.
            settings: what it was made from.
        """
        # What is searched is no setting of the study: a search that is new is another one.
        names = today.settings.keys() - self.space.keys()
        return self.model_copy(update={"settings": with_defaults(self.settings, names, settings)})


def record_of(settings: Settings, dataset: Dataset, space: dict[str, Range]) -> StudyRecord:
    """The description of a study of these settings on this data."""
    reads_text = "text" in settings.spec.needs
    features = dataset.feature_set(settings.encoder or None) if reads_text else None
    return StudyRecord(
        system=settings.spec.name,
        dataset=dataset.name,
        fingerprint=dataset.manifest.fingerprint,
        features=None if features is None else features.encoder.model_dump(),
        metric=settings.train.metric,
        space={name: among.document() for name, among in space.items()},
        settings={
            name: value
            for name, value in flat(settings.model_dump(mode="json")).items()
            if name not in space and name not in _ELSEWHERE
        },
    )


def read_record(folder: Path) -> StudyRecord:
    """The description of the study in a folder.

    Raises:
        InputError: it is no study, or one of another version.
    """
    path = folder / STUDY
    try:
        return StudyRecord.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"can't be read: {place}: {first['msg']} (this version reads format {FORMAT})",
            where=str(path),
            remedy="tune again, in another --out",
        ) from error


def check_same(theirs: StudyRecord, ours: StudyRecord, folder: Path) -> None:
    """Refuse to go on with a study of something else.

    Raises:
        InputError: something differs; the message names it, and both sides.
    """

    def refuse(what: str, one: Any, two: Any) -> InputError:
        return InputError(
            f"is a study of another {what}: {one} there, {two} here",
            where=str(folder),
            remedy="name another --out, or give the command that the study was begun with",
        )

    for what, name in (("system", "system"), ("metric", "metric")):
        one, two = getattr(theirs, name), getattr(ours, name)
        if one != two:
            raise refuse(what, one, two)
    sides = [f"{each.dataset} {each.fingerprint[:16]}" for each in (theirs, ours)]
    if sides[0] != sides[1]:
        raise refuse("Dataset or split", *sides)
    if theirs.features != ours.features:
        raise refuse("text encoder", theirs.features, ours.features)
    for what, one, two in (
        ("search space", theirs.space, ours.space),
        ("setting", theirs.settings, ours.settings),
    ):
        for name in sorted(one.keys() | two.keys()):
            if one.get(name) != two.get(name):
                raise refuse(f"{what} {name}", _in_words(one.get(name)), _in_words(two.get(name)))


def _in_words(value: Any) -> str:
    """One side of what differs: a range in words."""
    if value is None:
        return "none"
    if isinstance(value, dict) and value.get("kind") == "choice":
        return " | ".join(map(str, value["values"]))
    if isinstance(value, dict) and value.get("kind") == "uniform":
        return f"{value['low']:g} to {value['high']:g}{', log-uniform' if value['log'] else ''}"
    return str(value)


def write_trials(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write the table of trials: ``trials.csv``, whole or not at all."""
    import pandas as pd

    with replacing(folder / TRIALS) as beside:
        pd.DataFrame(rows).to_csv(beside, index=False)


def read_trials(folder: Path) -> pd.DataFrame:
    """The table of trials, in the order in which they were begun.

    Columns: ``trial``, ``state`` (``finished``, ``running``, ``failed``), ``value`` of the
    validation metric, ``best_so_far``, ``epochs``, ``best_epoch``, ``seconds``, each searched
    setting by its name, and ``why`` a trial failed.

    Raises:
        InputError: there is none that can be read.
    """
    import pandas as pd

    path = folder / TRIALS
    try:
        # Not pandas' usual parser, whose last digit may be another.
        table = pd.read_csv(path, float_precision="round_trip")
    except (OSError, ValueError) as error:
        raise InputError(
            f"can't be read: {error}", where=str(path), remedy="name the folder of a miracle tune"
        ) from error
    if missing := {"trial", "state", "value", "best_so_far"} - set(table.columns):
        raise InputError(f"has no column {', '.join(sorted(missing))}", where=str(path))
    return table
