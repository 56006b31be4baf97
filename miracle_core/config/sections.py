"""The sections of a run's settings that every system shares, and the base class of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from miracle_core.config.search import SearchSpace
from miracle_core.registry import Mode

Precision = Literal["fp32", "bf16", "fp16"]
Layout = Literal["auto", "packed", "padded"]
Preset = Literal["default", "paper", "reference"]
Recommendation = Literal[
    "softmax", "bpr", "bpr-max", "top1", "top1-max", "bce", "gbce", "sampled-softmax"
]
Start = Literal["scratch", "pretrained", "pretraining"]
METRIC_NAMES = ("recall", "ndcg", "mrr")


class Section(BaseModel):
    """A section of settings: strict, frozen, and unknown names are errors."""

    # Strict: "5" is not a number and true is not 1; TOML says what a value is.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, strict=True, allow_inf_nan=False
    )


class ModelSettings(Section):
    """What a system's own section ``model`` has in common with all others.

    A system's settings derive from this class and give ``kind`` its name as the only value.

    Attributes:
        kind: which system it is, a name of ``miracle models``.
    """

    kind: str

    # What each preset changes of the defaults, as settings of a whole run.
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}
    # What ``miracle tune`` searches, by settings of a whole run; empty where there is nothing.
    SEARCH: ClassVar[SearchSpace] = {}

    @classmethod
    def ground(cls, preset: str, start: Start) -> Mapping[str, Any]:
        """Settings of a whole run, by how it starts; the preset overrides them.

        Args:
            preset: which preset.
            start: from ``scratch``, from a ``pretrained`` run, or a ``pretraining`` itself.
        """
        return {}


class LossSettings(Section):
    """The loss of the item that came next, the same for every system.

    Attributes:
        recommendation: ``softmax`` over all items; the others compare with drawn negatives
            (:mod:`miracle_core.ranking.sampled` has the equations): ``bpr`` (Rendle et al. 2009),
            ``top1`` (Hidasi et al. 2016), ``top1-max`` and ``bpr-max`` (Hidasi and Karatzoglou
            2018), ``bce`` (Kang and McAuley 2018), ``gbce`` (Petrov and Macdonald 2023),
            ``sampled-softmax`` corrected for the draw (logQ).
        negatives: items drawn for each item that came next; 256 are gSASRec's.
        calibration: t of ``gbce``: 0 is ``bce``, 1 gives the scores of the full softmax. Its
            authors have 0.75.
        regularisation: lambda of ``bpr-max``, the weight of its penalty on high negative scores.
            Its authors' first value is 1.
    """

    recommendation: Recommendation = "softmax"
    negatives: int = Field(256, ge=1)
    calibration: float = Field(0.75, ge=0, le=1)
    regularisation: float = Field(1.0, ge=0)


class CooccurrenceSettings(Section):
    """What scores gain by items that the same users took.

    :mod:`miracle_core.systems.cooccurrence` has the equation. It is for transductive systems that
    rank by vectors.

    Attributes:
        weight: w, in units of the temperature; 0 leaves it out.
        neighbours: the most similar items kept of each item.
        shrink: added to the cosine's denominator, so that items that few users share count less.
        decay: g, what the similarity to an item counts less for each item that is newer.
    """

    weight: float = Field(0.0, ge=0)
    neighbours: int = Field(100, ge=1)
    shrink: float = Field(10.0, ge=0)
    decay: float = Field(0.8, gt=0, le=1)


class PretrainSettings(Section):
    """Settings of pre-training over several Datasets.

    Attributes:
        mix_temperature: an epoch draws from each Dataset in proportion to (its training
            examples) ** mix_temperature: 1 takes every example once, 0 as many from each Dataset.
            An epoch is as long either way.
        encoder_rate: a factor of ``train.learning_rate`` for the weights that make vectors of text
            (MIRACLE: the adaptor and the context encoder; UniSRec: the adaptor). Their first
            weights keep near texts near in any domain. Trained as fast as the rest, they lose that
            outside the domains of the pre-training.
        log_q: correct candidates for how often they are drawn (logQ). A batch's targets are mostly
            popular items; as the only negatives, these would learn scores that are too low.
    """

    mix_temperature: float = Field(1.0, ge=0)
    encoder_rate: float = Field(1.0, gt=0, le=1)
    log_q: bool = True


class TrainSettings(Section):
    """How a model is trained.

    Attributes:
        mode: a ``transductive`` run knows each item of its catalogue, by an embedding or a count;
            an ``inductive`` one knows items by their text alone, so that new items can be scored.
        epochs: passes over the training examples at most.
        batch_size: examples a step.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        average: the weight of the old mean in each step of the running mean of the weights, which
            is what is validated, tested and kept; 0 takes the last step's weights.
        clip: the largest norm of the gradient; longer ones are scaled down to it.
        metric: the validation metric that chooses the best epoch, e.g. ``recall@10``; ``loss`` for
            a pre-training that ranks nothing.
        patience: epochs without a better one before training stops.
        freeze: leave the system's sequence encoder as pre-trained (MIRACLE, UniSRec: position
            embeddings and Transformer layers).
        seed: of every random stream.
        precision: of the large matrix products in training: ``fp32``, or ``bf16`` or ``fp16``
            (autocast; weights, sums, choices and validations stay in float32).
        devices: where it is trained: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto``, a GPU of
            NVIDIA's if there is one. With several processes each takes one GPU. A resumed run may
            use another device.
        layout: how the histories of a batch are stored: ``packed``, without padding, which is fast
            on a processor; ``padded`` to one length, in fixed shapes, which is fast on a GPU;
            ``auto`` chooses by the device. The results are the same, except for rounding and noise.
        accumulation: in how many parts a step's examples are processed, one after another, to save
            memory.
        test: measure the test part once, when training has ended; false leaves it unread.
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
    devices: str = "auto"
    layout: Layout = "auto"
    accumulation: int = Field(1, ge=1)
    test: bool = True

    @field_validator("devices")
    @classmethod
    def _device_name(cls, value: str) -> str:
        if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?|mps", value) is None:
            raise ValueError("is not a device; write auto, cpu, cuda, cuda:1 or mps")
        return value

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value == "loss":
            return value
        name, at, k = value.partition("@")
        number = int(k) if k.isascii() and k.isdigit() else 0
        if name not in METRIC_NAMES or not at or number < 1:
            raise ValueError("is not a metric; write one of recall@K, ndcg@K, mrr@K")
        return f"{name}@{number}"
