"""A recipe: several stages from one TOML file, checked as a whole before the first one begins.

    data = "data/shop"            # settings of all stages; paths begin at the recipe's folder
    [model]
    width = 64

    [[stage]]
    kind = "pretrain"             # its own settings lie on top
    datasets = ["data/a", "data/b"]

    [[stage]]
    kind = "finetune"             # starts from the pre-training, if there is one
    train.epochs = 20

    [[stage]]
    kind = "evaluate"             # the latest run before it
    split = "valid"

The stages are run by :mod:`miracle_core.training.stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from miracle_core.config import Section, SeenRule, Settings, make_settings, read_values
from miracle_core.config.problems import explained
from miracle_core.errors import InputError
from miracle_core.evaluation.metrics import DEFAULT_KS
from miracle_core.paths import as_path, from_portable
from miracle_core.runs.folder import RunFolder

Kind = Literal["pretrain", "finetune", "evaluate"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class EvaluateSettings(Section):
    """What an ``evaluate`` stage asks.

    Attributes:
        data: the Dataset to evaluate on (empty: the run's own).
        split: whose held-out items are ranked; empty: ``test``, unless ``train.test`` is false.
        k: cut-offs of the metrics.
        seen: the seen rule (empty: that of the training).
        encoder: which text features of ``data`` are read (empty: those of the run's encoder).
    """

    data: str = ""
    split: Literal["", "valid", "test"] = ""
    k: list[int] = Field(default=list(DEFAULT_KS), min_length=1)
    seen: Literal["", "as-printed", "leave-out", "gain"] = ""
    encoder: str = ""

    @property
    def seen_rule(self) -> SeenRule | None:
        """The rule that is asked for, or None."""
        return self.seen or None


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe.

    Attributes:
        number: from 1.
        kind: what is done.
        settings: complete settings of a training; None for an evaluation.
        evaluation: what an evaluation asks; None for a training.
        run: the number of the stage whose run is evaluated; a training has its own number.
        place: the stage's name in a message.
    """

    number: int
    kind: Kind
    settings: Settings | None
    evaluation: EvaluateSettings | None
    run: int
    place: str

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return f"{self.number}-{self.kind}"


@dataclass(frozen=True)
class Recipe:
    """A recipe, checked.

    Attributes:
        values: what the file says, with absolute paths.
        stages: what is done, in order.
    """

    values: dict[str, Any]
    stages: tuple[Stage, ...]


def read_recipe(path: str | Path, out: str | Path) -> Recipe:
    """Read and check a recipe.

    Args:
        path: the TOML file.
        out: the folder that the stages' folders will be in; nothing is written.

    Raises:
        InputError: not a TOML file, no stage, an unknown kind, a stage that can't follow the one
            before it, or settings that are wrong.
    """
    path = as_path(path)
    values = read_located(path)
    tables = values.get("stage")
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise InputError(
            "is not a recipe: it has no [[stage]]",
            where=str(path),
            remedy='write one table a stage: [[stage]], and kind = "finetune" in it; settings of '
            "one run alone go with --config",
        )
    shared = {name: value for name, value in values.items() if name != "stage"}
    stages: list[Stage] = []
    for number, table in enumerate(tables, 1):
        kind = table.get("kind")
        if kind not in KINDS:
            raise InputError(
                "a stage has no kind" if kind is None else f"{kind!r} is not a kind of stage",
                where=f"{path}: stage {number}",
                remedy=f"write kind = {' or '.join(map(repr, KINDS))}".replace("'", '"'),
            )
        place = f"{path}: stage {number} ({kind})"
        own = {name: value for name, value in table.items() if name != "kind"}
        if kind == "evaluate":
            stages.append(_evaluation(number, own, shared, stages, place))
        else:
            stages.append(_training(number, kind, own, shared, stages, as_path(out), place))
    return Recipe(values, tuple(stages))


def read_located(path: Path) -> dict[str, Any]:
    """What a recipe's file says, with absolute paths; in it they are relative to its folder."""
    return with_paths(read_values(path), lambda each: from_portable(each, path.parent))


def with_paths(values: Mapping[str, Any], changed: Callable[[str], str]) -> dict[str, Any]:
    """The values with every path changed, in the shared settings and in each stage."""
    found = dict(values)
    for name in ("data", "pretrained"):
        if isinstance(found.get(name), str) and found[name]:
            found[name] = changed(found[name])
    folders = found.get("datasets")
    if isinstance(folders, list):
        found["datasets"] = [
            changed(each) if isinstance(each, str) and each else each for each in folders
        ]
    stages = found.get("stage")
    if isinstance(stages, list):
        found["stage"] = [
            with_paths(each, changed) if isinstance(each, dict) else each for each in stages
        ]
    return found


def _training(
    number: int,
    kind: Kind,
    own: Mapping[str, Any],
    shared: Mapping[str, Any],
    before: Sequence[Stage],
    out: Path,
    place: str,
) -> Stage:
    """A ``pretrain`` or ``finetune`` stage with its complete settings.

    Raises:
        InputError: it can't follow the stages before it, names no Dataset, or has wrong settings.
    """
    pretraining = kind == "pretrain"
    other, needed = ("data", "datasets") if pretraining else ("datasets", "data")
    if other in own:
        raise InputError(
            f"{other} is not a setting of this stage", where=place, remedy=f"name {needed}"
        )
    given = {k: v for k, v in shared.items() if k != other}
    layers: list[Mapping[str, Any]] = [given]
    if pretraining and before:
        raise InputError(
            "a pre-training starts from no other run, so it can't follow another stage",
            where=place,
            remedy="make it the first stage, or write a recipe of its own",
        )
    start = next((stage for stage in before if stage.kind == "pretrain"), None)
    named = own.get("pretrained") or given.get("pretrained")
    if not pretraining and start is not None:
        if named:
            raise InputError(
                "starts from the pre-training of this recipe, and names another run in pretrained",
                where=place,
                remedy="leave one of them out",
            )
        assert start.settings is not None
        # Shared settings were beneath those of the pre-training, too.
        layers.append(_begun_from(start.settings, out / start.folder, own, place))
    elif not pretraining and isinstance(named, str) and named:
        # As with --from: what is written in the recipe beats what the run had.
        theirs = RunFolder(Path(named)).settings()
        layers.insert(0, _begun_from(theirs, Path(named), {**given, **own}, place))
    settings = make_settings(*layers, own, where=place)
    if not getattr(settings, needed):
        raise InputError("no Dataset is named", where=place, remedy=f"name it with {needed} = ...")
    return Stage(number, kind, settings, None, number, place)


def _begun_from(start: Settings, run: Path, own: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The settings that a fine-tuning takes over from the run it starts from, beneath its own.

    Raises:
        InputError: its own settings name another system.
    """
    model = own.get("model")
    kind = model.get("kind", start.model.kind) if isinstance(model, Mapping) else start.model.kind
    if kind != start.model.kind:
        raise InputError(
            f"is to be {kind!r}, and the run it starts from is one of {start.model.kind!r}",
            where=place,
            remedy="leave model.kind out, or don't start from that run",
        )
    model = start.model.model_dump(mode="json")
    return {"pretrained": str(run.resolve()), "seen": start.seen, "model": model}


def _evaluation(
    number: int,
    own: Mapping[str, Any],
    shared: Mapping[str, Any],
    before: Sequence[Stage],
    place: str,
) -> Stage:
    """An ``evaluate`` stage of the latest run.

    Raises:
        InputError: there is no run that it can evaluate, or its settings are wrong.
    """
    trained = [stage for stage in before if stage.settings is not None]
    if not trained:
        raise InputError(
            "nothing is trained before it",
            where=place,
            remedy="put a pretrain or finetune stage before it, or use: miracle evaluate RUN",
        )
    latest = trained[-1]
    assert latest.settings is not None
    try:
        asked = EvaluateSettings.model_validate(own)
    except ValidationError as error:
        raise explained(error, EvaluateSettings, place) from error
    if any(k < 1 for k in asked.k):
        raise InputError("a cut-off is at least 1", where=f"{place}: k")
    if latest.kind == "pretrain" and not latest.settings.spec.zero_shot:
        raise InputError(
            f"{latest.settings.model.kind} ranks nothing before it is fine-tuned",
            where=place,
            remedy='put a stage before it: kind = "finetune"',
        )
    if latest.kind == "pretrain" and not asked.data:
        data = shared.get("data")
        if not isinstance(data, str) or not data:
            raise InputError(
                "a pre-trained run has no Dataset of its own",
                where=place,
                remedy="name the one to evaluate it on: data = ...",
            )
        asked = asked.model_copy(update={"data": data})
    if not asked.split:
        if not latest.settings.train.test:
            raise InputError(
                "train.test = false leaves the test part unread, and this stage reads it",
                where=place,
                remedy='say which part it is to read: split = "valid" or split = "test"',
            )
        asked = asked.model_copy(update={"split": "test"})
    if asked.seen == "gain" and latest.settings.seen != "gain":
        raise InputError(
            "the run before it learns no gain of items that a history holds",
            where=f"{place}: seen",
            remedy='choose "as-printed" or "leave-out", or train with seen = "gain"',
        )
    if asked.encoder and not asked.data:
        raise InputError(
            "a run's own data has the text features it was trained on, and no others",
            where=f"{place}: encoder",
            remedy="leave it out, or name a Dataset with data",
        )
    return Stage(number, "evaluate", None, asked, latest.number, place)
