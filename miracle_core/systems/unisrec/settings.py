"""The settings of UniSRec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.config import Choice, SearchSpace, Uniform
from miracle_core.config.sections import Start
from miracle_core.systems.attention_settings import AttentionSettings


class UniSRecSettings(AttentionSettings):
    """The network (Hou et al. 2022, section 2) and the weight of its second contrast.

    The defaults are the authors', but for ``max_length`` and ``text_scale``.

    Attributes:
        width: d, of item vectors and sequence representations.
        experts: G, parametric whitenings that the gate mixes.
        text_scale: text vectors enter with a root mean square of 1 (``unit``), since encoders
            differ in length by orders of magnitude, or as the encoder gave them (``raw``), as the
            authors have BERT's.
        adaptor_dropout: of text vectors before the whitenings.
        max_length: the newest items of a history that are read. 20, as other systems here; the
            authors' 50.
        layers: L, Transformer layers.
        heads: attention heads a layer.
        inner: width inside the feed-forward networks.
        dropout: of the Transformer's input, of attention weights and of what each half of a layer
            adds.
        temperature: tau, what cosines are divided by in the losses.
        contrast: lambda, the weight of the sequence-sequence contrast; in pre-training only, and
            0 leaves it out.
        item_drop: share of a history's items that its copy in that contrast lacks.
    """

    kind: Literal["unisrec"] = "unisrec"
    width: int = Field(300, ge=1)
    experts: int = Field(8, ge=1)
    text_scale: Literal["unit", "raw"] = "unit"
    adaptor_dropout: float = Field(0.2, ge=0, lt=1)
    max_length: int = Field(20, ge=1)
    layers: int = Field(2, ge=0)
    heads: int = Field(2, ge=1)
    inner: int = Field(256, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    temperature: float = Field(0.07, gt=0)
    contrast: float = Field(0.001, ge=0)
    item_drop: float = Field(0.2, ge=0, le=1)

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "paper": {
            "seen": "as-printed",
            "model": {"text_scale": "raw", "max_length": 50},
            "pretrain": {"log_q": False},
            "train": {"average": 0.0, "metric": "ndcg@10"},
        },
    }

    SEARCH: ClassVar[SearchSpace] = {
        "train.learning_rate": Uniform(1e-4, 1e-2, log=True),
        "train.weight_decay": Choice((0.0, 1e-4, 1e-2)),
        "model.experts": Choice((4, 8, 16)),
        "model.layers": Choice((1, 2, 3)),
        "model.dropout": Uniform(0.1, 0.7),
        "model.adaptor_dropout": Uniform(0.0, 0.6),
        "model.temperature": Uniform(0.03, 0.2, log=True),
    }

    @classmethod
    def ground(cls, preset: str, start: Start) -> Mapping[str, Any]:
        """Pre-training has epochs and batches of its own; fine-tuning after it freezes a part."""
        if start == "pretraining":
            long = preset == "paper"
            size = (
                {"epochs": 300, "batch_size": 8192} if long else {"epochs": 5, "batch_size": 2048}
            )
            return {"train": {"mode": "inductive", **size}}
        size = {"batch_size": 2048} if preset == "paper" else {}
        return {"train": {"freeze": start == "pretrained", **size}}
