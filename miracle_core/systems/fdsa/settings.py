"""The settings of FDSA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.systems.attention_settings import AttentionSettings


class FDSASettings(AttentionSettings):
    """The network (Zhang et al. 2019, section 3). The defaults are RecBole's.

    Attributes:
        width: d, of both streams.
        layers: blocks of self-attention of each stream.
        heads: attention heads a block.
        inner: width inside the feed-forward networks.
        dropout: of the inputs, of attention weights, of what each half of a block adds, and of the
            state.
        max_length: n, the newest items of a history that are read. 20, as other systems here.
        activation: inside the feed-forward networks. RecBole's ``gelu``; the paper's ``relu``.
    """

    kind: Literal["fdsa"] = "fdsa"
    layers: int = Field(2, ge=1)
    inner: int = Field(256, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    max_length: int = Field(20, ge=1)
    activation: Literal["gelu", "relu"] = "gelu"

    # An example is a whole window with several items to predict, so a batch has fewer examples.
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"train": {"batch_size": 256}},
        "paper": {
            "seen": "as-printed",
            "model": {"max_length": 50, "activation": "relu"},
            "loss": {"recommendation": "bce", "negatives": 1},
            "train": {"batch_size": 128, "average": 0.0},
        },
    }
