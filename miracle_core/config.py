"""Every setting, typed and validated in one place; TOML in and out.

Flags beat the config file, which beats the preset. A run folder's ``config.toml`` holds all of it
and is enough to run again.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from miracle_core.errors import InputError
from miracle_core.presets import FROM_PRETRAINED, PRESETS, Preset, pretraining

Mode = Literal["transductive", "inductive"]
Precision = Literal["fp32", "bf16", "fp16"]
Kernels = Literal["torch", "triton"]
METRIC_NAMES = ("recall", "ndcg", "mrr")


class _Section(BaseModel):
    # Strict: "5" is not a number and true is no 1; TOML says what a value is.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, strict=True, allow_inf_nan=False
    )


class ModelSettings(_Section):
    """The network (sections 3.2 and 3.3).

    Attributes:
        width: d, width of item vectors, interests and capsules.
        capsules: C.
        experts: G.
        text_scale: text vectors enter with a root mean square of 1 (``unit``), since encoders
            differ in length by orders of magnitude, or as the encoder gave them (``raw``).
        max_length: N, the newest items of a history that are read.
        layers: L, Transformer layers.
        heads: attention heads a layer.
        inner: width inside the feed-forward networks.
        dropout: in the Transformer.
        adaptor_dropout: of text vectors before the experts.
        gate_noise: noise of learned scale on the gate's logits in training.
        activation_noise: noise on the similarities in training (eq. 7).
        iterations: tau, routing iterations.
        agreement: what agrees with an interest in eq. 14: ``h`` as printed, ``q`` as the authors.
        positional: position-wise item weights (eq. 9); off is section 4.4's "w/o PW".
        sparse: items activate capsules (eq. 8); off is section 4.4's "w/o SS", all capsules active
            for every user (the paper then takes 4).
        score: ``cosine``, or the ``inner`` product as printed (eq. 17).
        temperature: what scores are divided by in the losses.
        repeat: a learned number is added to the score of each item that the history holds. Not of
            the paper: it tells things that people take once from things they take again.
    """

    width: int = Field(300, ge=1)
    capsules: int = Field(32, ge=1)
    experts: int = Field(8, ge=1)
    text_scale: Literal["unit", "raw"] = "unit"
    max_length: int = Field(20, ge=1)
    layers: int = Field(2, ge=0)
    heads: int = Field(2, ge=1)
    inner: int = Field(256, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    adaptor_dropout: float = Field(0.3, ge=0, lt=1)
    gate_noise: bool = True
    activation_noise: bool = True
    iterations: int = Field(3, ge=1)
    agreement: Literal["h", "q"] = "h"
    positional: bool = True
    sparse: bool = True
    score: Literal["inner", "cosine"] = "cosine"
    temperature: float = Field(0.07, gt=0)
    repeat: bool = True

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelSettings:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class LossSettings(_Section):
    """The weights of the losses (eq. 22, 24).

    Attributes:
        coverage: theta_1 and theta_4, of l_b with its factor C.
        orthogonality: theta_2 and theta_5, of l_c.
        contrast: theta_3, of l_i; in pre-training only, and 0 is section 4.4's "w/o IC".
    """

    coverage: float = Field(10 / 32, ge=0)
    orthogonality: float = Field(0.01, ge=0)
    contrast: float = Field(0.001, ge=0)


class PretrainSettings(_Section):
    """What only pre-training over several Datasets asks.

    Attributes:
        mask_probability: share of items masked for the interest contrast (eq. 15).
        mask_min_length: items a history must have to be masked.
        mix_temperature: an epoch draws from each Dataset in proportion to (its training
            examples) ** mix_temperature: 1 takes every example once, 0 as many from each Dataset.
            An epoch is as long either way.
        encoder_rate: the learning rate of what makes item vectors of text, the adaptor and the
            context encoder, times ``train.learning_rate``. At their first weights they keep texts
            as near to each other as the text encoder has them, in any domain; trained as fast as
            the capsules they give that up for the domains at hand.
        log_q: candidates are corrected for how often they are drawn (logQ): a batch's targets are
            mostly popular items, which as its only negatives would learn to score too low.
    """

    mask_probability: float = Field(0.2, ge=0, le=1)
    mask_min_length: int = Field(5, ge=2)
    mix_temperature: float = Field(1.0, ge=0)
    encoder_rate: float = Field(1.0, gt=0, le=1)
    log_q: bool = True


class TrainSettings(_Section):
    """How a model is fitted.

    Attributes:
        mode: ``transductive`` adds an embedding of each item's identity to its text's vector,
            ``inductive`` does not, so that new items can be scored.
        epochs: passes over the training examples at most.
        batch_size: examples a step.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        average: what is validated, tested and kept is a running mean of the weights, which keeps
            this much of itself each step; 0 takes the last step's weights.
        clip: the gradient's norm is cut to this.
        metric: the validation metric that chooses the best epoch, e.g. ``recall@10``.
        patience: epochs without a better one before training stops.
        freeze: leave the context encoder (position embeddings and Transformer layers) as
            pre-trained.
        seed: of every random stream.
        precision: of the large matrix products in training: ``fp32``, or ``bf16`` or ``fp16``
            (autocast; weights, sums, choices of capsules and validations stay in float32).
        accumulation: parts that a step's examples are taken in, one after another, to save memory.
        compile: compile the layers that treat an item alone (eq. 9, 10).
        kernels: what computes the loss of the next item (eq. 16, 23): ``torch``, or on a GPU
            ``triton``.
    """

    mode: Mode = "transductive"
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(1024, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    average: float = Field(0.99, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)
    metric: str = "recall@10"
    patience: int = Field(10, ge=1)
    freeze: bool = False
    seed: int = Field(2023, ge=0, lt=2**63)
    precision: Precision = "fp32"
    accumulation: int = Field(1, ge=1)
    compile: bool = False
    kernels: Kernels = "torch"

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        name, at, k = value.partition("@")
        number = int(k) if k.isascii() and k.isdigit() else 0
        if name not in METRIC_NAMES or not at or number < 1:
            raise ValueError("is not a metric; write one of recall@K, ndcg@K, mrr@K")
        return f"{name}@{number}"


class Settings(_Section):
    """A whole run.

    Attributes:
        preset: where the settings not given come from.
        data: the Dataset folder.
        datasets: the Dataset folders of a pre-training; a run has these or ``data``.
        pretrained: the run folder that fine-tuning starts from (empty: from scratch).
        encoder: whose text features are read (may be empty where the Dataset has one set).
        model: the network.
        loss: the weights of the losses.
        pretrain: of a pre-training.
        train: how it is fitted.
    """

    preset: Preset = "default"
    data: str = ""
    datasets: list[str] = []
    pretrained: str = ""
    encoder: str = ""
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    pretrain: PretrainSettings = PretrainSettings()
    train: TrainSettings = TrainSettings()

    @property
    def metric_k(self) -> int:
        """K of the validation metric."""
        return int(self.train.metric.partition("@")[2])

    @model_validator(mode="after")
    def _one_kind_of_run(self) -> Settings:
        if self.datasets and self.data:
            raise ValueError("data is of a fine-tuning, datasets of a pre-training: name one")
        if self.datasets and self.pretrained:
            raise ValueError("a pre-training starts from no other run: leave pretrained out")
        if self.datasets and self.train.mode == "transductive":
            raise ValueError(
                "pre-training is inductive: an embedding of each item is of one catalogue only"
            )
        if self.train.freeze and not self.pretrained:
            raise ValueError(
                "train.freeze keeps pre-trained weights, and there are none: name a run with --from"
            )
        return self


def make_settings(*layers: Mapping[str, Any], where: str = "settings") -> Settings:
    """Validate nested mappings of settings, later ones first.

    Args:
        layers: e.g. a config file's contents, then flags; a ``preset`` in any is the ground, and
            beneath it what the kind of run says: a pre-training if any names ``datasets``, a
            fine-tuning with a frozen context encoder if any names a ``pretrained`` run.
        where: what to call the place in an error.

    Raises:
        InputError: an unknown setting (with the nearest known one) or a bad value.
    """
    chosen: Any = "default"
    for layer in layers:
        chosen = layer.get("preset", chosen)
    if chosen not in get_args(Preset):
        raise InputError(
            f"there is no preset {chosen!r}",
            where=f"{where}: preset",
            remedy=f"choose one of {', '.join(get_args(Preset))}",
        )
    kind: dict[str, Any] = {}
    if any(layer.get("datasets") for layer in layers):
        kind = pretraining(chosen)
    elif any(layer.get("pretrained") for layer in layers):
        kind = FROM_PRETRAINED
    merged: dict[str, Any] = {}
    for layer in (kind, PRESETS[chosen], *layers):
        merged = _merge(merged, layer)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise _explain(error, where) from error


def read_values(path: Path) -> dict[str, Any]:
    """What a config file (TOML) says, not validated yet.

    Raises:
        InputError: the file is missing or no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", where=str(path)) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is not valid TOML: {error}", where=str(path)) from error


def load_settings(path: Path, *overrides: Mapping[str, Any]) -> Settings:
    """Read a config file (TOML), with overrides on top.

    Raises:
        InputError: the file is missing, no TOML, or it or an override holds an unknown setting or
            a bad value.
    """
    values = read_values(path)
    # On its own first, so that what is wrong in the file is never blamed on an option.
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


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _explain(error: ValidationError, where: str) -> InputError:
    """The first thing wrong, with the nearest known name where the name is unknown."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    place = f"{where}: {'.'.join(path)}" if path else where
    if first["type"] != "extra_forbidden":
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "model_type":
            message = "is a section of settings, not a value"
        # What a whole section was given is no help; its own message names the values.
        got = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
        return InputError(message + got, where=place)
    # Its own section's names first: of equally near ones the first is taken.
    names = setting_names()
    section = [name for name in names if name.rpartition(".")[0] == ".".join(path[:-1])]
    by_last = {name.rpartition(".")[2]: name for name in reversed([*section, *names])}
    near = difflib.get_close_matches(path[-1], list(by_last), n=1)
    known = f"known here: {', '.join(name.rpartition('.')[2] for name in section)}"
    remedy = f"did you mean {by_last[near[0]]}?" if near else known
    return InputError(f"there is no setting {path[-1]!r}", where=place, remedy=remedy)


def setting_names(section: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every setting's and section's dotted name."""
    names: list[str] = []
    for name, field in section.model_fields.items():
        names.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += setting_names(field.annotation, f"{prefix}{name}.")
    return names
