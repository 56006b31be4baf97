"""Every setting, typed and validated in one place; TOML in and out.

Flags beat the config file, which beats the preset. The section ``model`` belongs to the system that
``model.kind`` names. A run folder's ``config.toml`` holds all of it and is enough to run again.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field, ValidationError, create_model, model_validator

from miracle_core import registry
from miracle_core.config.migrate import migrated
from miracle_core.config.problems import explained
from miracle_core.config.sections import (
    CooccurrenceSettings,
    LossSettings,
    ModelSettings,
    Preset,
    PretrainSettings,
    Section,
    Start,
    TrainSettings,
)
from miracle_core.errors import InputError
from miracle_core.paths import as_path, from_portable

SeenRule = Literal["as-printed", "leave-out", "gain"]


class Settings(Section):
    """A whole run. :func:`settings_class` gives the class of a system, with its own ``model``.

    Attributes:
        preset: where the settings not given come from.
        data: the Dataset folder.
        datasets: the Dataset folders of a pre-training; a run has these or ``data``.
        pretrained: the run folder that fine-tuning starts from (empty: from scratch).
        encoder: the name of the text features that are read (may be empty if the Dataset has only
            one set, or if the system reads no text).
        seen: what becomes of items that the user's history holds: they are candidates like any
            other (``as-printed``), no candidates (``leave-out``), or their scores gain a learned
            number (``gain``, which training must have learned).
        model: the system's own settings.
        loss: the loss of the item that came next.
        cooccurrence: what scores gain by items that the same users took.
        pretrain: settings of a pre-training.
        train: how the model is trained.
    """

    preset: Preset = "default"
    data: str = ""
    datasets: list[str] = Field(default=[])
    pretrained: str = ""
    encoder: str = ""
    seen: SeenRule = "gain"
    model: ModelSettings
    loss: LossSettings = LossSettings()
    cooccurrence: CooccurrenceSettings = CooccurrenceSettings()
    pretrain: PretrainSettings = PretrainSettings()
    train: TrainSettings = TrainSettings()

    @property
    def spec(self) -> registry.SystemSpec:
        """The system that is trained."""
        return registry.system(self.model.kind)

    @property
    def metric_k(self) -> int | None:
        """K of the validation metric; None where it is the loss."""
        return int(self.train.metric.partition("@")[2] or 0) or None

    @model_validator(mode="after")
    def _one_kind_of_run(self) -> Settings:
        spec = self.spec
        if (self.datasets or self.pretrained) and "pretrain" not in spec.stages:
            raise ValueError(f"{spec.name} can't be pre-trained")
        if self.datasets and self.data:
            raise ValueError("data is of a fine-tuning, datasets of a pre-training: name one")
        if self.datasets and self.pretrained:
            raise ValueError("a pre-training starts from no other run: leave pretrained out")
        if len(self.datasets) > 1 and not spec.zero_shot:
            raise ValueError(
                f"{spec.name} knows items one by one, so it is pre-trained on the one Dataset that "
                "it is then fine-tuned on: name no other"
            )
        if self.datasets and self.loss.recommendation != "softmax":
            raise ValueError(
                "pre-training compares with the batch's own items: loss.recommendation is softmax"
            )
        if self.datasets and spec.zero_shot and self.train.mode == "transductive":
            raise ValueError(
                "pre-training is inductive: an embedding of each item is of one catalogue only"
            )
        if self.train.freeze and not self.pretrained:
            raise ValueError(
                "train.freeze keeps pre-trained weights, and there are none: name a run with --from"
            )
        return self

    @model_validator(mode="after")
    def _what_the_system_can(self) -> Settings:
        spec = self.spec
        if self.train.mode not in spec.modes:
            raise ValueError(f"{spec.name} is {' or '.join(spec.modes)}, not {self.train.mode}")
        if self.datasets and not spec.zero_shot and self.train.metric != "loss":
            raise ValueError(f"{spec.name} ranks nothing in pre-training: train.metric is loss")
        if self.train.metric == "loss" and (spec.zero_shot or not self.datasets):
            raise ValueError(
                "train.metric is loss only in a pre-training that ranks nothing: write one of "
                "recall@K, ndcg@K, mrr@K"
            )
        if self.cooccurrence.weight:
            if "fit" in spec.stages:
                raise ValueError(f"{spec.name} has no vectors for cooccurrence to stand beside")
            if self.datasets or self.train.mode != "transductive":
                raise ValueError(
                    "cooccurrence counts the items of one catalogue: train.mode must be "
                    "transductive, and a pre-training can't have it"
                )
        if self.seen == "gain" and "fit" in spec.stages:
            raise ValueError(f"{spec.name} learns no gain: choose seen as-printed or leave-out")
        return self


@functools.cache
def _class_of(spec: registry.SystemSpec) -> type[Settings]:
    own = spec.settings_class()
    made: type[Settings] = create_model(
        "Settings", __base__=Settings, model=(own, Field(default_factory=own))
    )
    return made


def settings_class(kind: str = registry.DEFAULT, *, where: str = "model.kind") -> type[Settings]:
    """The settings of a run of one system.

    Raises:
        InputError: there is no such system.
    """
    return _class_of(registry.system(kind, where=where))


def make_settings(*layers: Mapping[str, Any], where: str = "settings") -> Settings:
    """Validate nested mappings of settings; later ones override earlier ones.

    Args:
        layers: e.g. a config file's contents, then flags. They override the ``preset`` that any of
            them names. The preset overrides what the system's ``ground`` gives for the kind of run:
            a pre-training if any layer names ``datasets``, one from a ``pretrained`` run, or one
            from scratch.
        where: what to call the place in an error.

    Raises:
        InputError: an unknown setting (with the nearest known one) or a bad value.
    """
    layers = tuple(migrated(layer, where) for layer in layers)
    chosen: Any = "default"
    kind: Any = registry.DEFAULT
    for layer in layers:
        chosen = layer.get("preset", chosen)
        model = layer.get("model")
        if isinstance(model, Mapping):
            kind = model.get("kind", kind)
    if not isinstance(kind, str):
        raise InputError(f"{kind!r} is not a name", where=f"{where}: model.kind")
    own = settings_class(kind, where=f"{where}: model.kind")
    presets = registry.system(kind).settings_class().PRESETS
    if not isinstance(chosen, str) or chosen not in presets:
        raise InputError(
            f"there is no preset {chosen!r}",
            where=f"{where}: preset",
            remedy=f"choose one of {', '.join(presets)}",
        )
    start: Start = "scratch"
    if any(layer.get("datasets") for layer in layers):
        start = "pretraining"
    elif any(layer.get("pretrained") for layer in layers):
        start = "pretrained"
    merged: dict[str, Any] = {}
    ground = registry.system(kind).settings_class().ground(chosen, start)
    for layer in (ground, presets[chosen], *layers):
        merged = merge(merged, layer)
    try:
        return own.model_validate(merged)
    except ValidationError as error:
        raise explained(error, own, where) from error


def with_defaults(
    kept: Mapping[str, Any], names: Iterable[str], settings: Settings
) -> dict[str, Any]:
    """Settings that an older version kept, with those that it did not have yet at their defaults.

    The defaults are those of a run that starts in the same way, as when its file is read.

    Args:
        kept: settings by dotted name, all that the older version had.
        names: those that today's version keeps.
        settings: complete ones of today. If they are of another system or preset than ``kept``,
            nothing is filled in.
    """
    missing = [name for name in names if name not in kept]
    same = {"model.kind": settings.model.kind, "preset": settings.preset}
    if not missing or any(kept.get(name) != value for name, value in same.items()):
        return dict(kept)
    start = {"datasets": settings.datasets, "pretrained": settings.pretrained}
    default = flat(make_settings(nested(same), start).model_dump(mode="json"))
    return {**kept, **{name: default[name] for name in missing if name in default}}


def read_values(path: str | Path) -> dict[str, Any]:
    """What a config file (TOML) says, not validated yet.

    Its paths (``data``, ``datasets``, ``pretrained``) are relative to the file's folder, so that a
    run can be moved together with its data; here they become absolute.

    Raises:
        InputError: the file is missing or not TOML.
    """
    path = as_path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", where=str(path)) from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is not valid TOML: {error}", where=str(path)) from error
    for name in ("data", "pretrained"):
        if name in values:
            values[name] = _located(values[name], path.parent)
    if isinstance(values.get("datasets"), list):
        values["datasets"] = [_located(each, path.parent) for each in values["datasets"]]
    return values


def _located(value: Any, folder: Path) -> Any:
    """A path in a file, made absolute by the file's folder; other values are left to validation."""
    return from_portable(value, folder) if isinstance(value, str) and value else value


def load_settings(path: str | Path, *overrides: Mapping[str, Any]) -> Settings:
    """Read a config file (TOML), with overrides on top.

    Raises:
        InputError: the file is missing, no TOML, or it or an override holds an unknown setting or
            a bad value.
    """
    values = read_values(path)
    # The file first by itself, so that an error in it is not blamed on an option.
    settings = make_settings(values, where=str(path))
    return make_settings(values, *overrides, where="options") if overrides else settings


def dump_settings(settings: Settings) -> str:
    """All settings as TOML, complete enough to run again."""
    return tomli_w.dumps(settings.model_dump(mode="json"))


def nested(assignments: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"model.width": 64}`` into ``{"model": {"width": 64}}``.

    Raises:
        InputError: a name is both a setting and a section of settings.
    """
    result: dict[str, Any] = {}
    for dotted, value in assignments.items():
        *sections, name = dotted.split(".")
        place: Any = result
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise InputError(f"{section!r} is given a value and settings", where=dotted)
        place[name] = value
    return result


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The inverse of :func:`nested`: every setting by its dotted name."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{above}{name}.")
        else:
            found[above + name] = value
    return found


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with others on top, section by section."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged
