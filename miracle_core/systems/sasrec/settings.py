"""The settings of SASRec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.systems.attention_settings import AttentionSettings


class SASRecSettings(AttentionSettings):
    """The network (Kang and McAuley 2018, section III).

    The defaults are RecBole's, but for ``max_length``; the preset ``paper`` has the paper's for
    sparse data sets such as Amazon's.

    Attributes:
        width: d. RecBole's 64; the paper's 50.
        layers: b, blocks of self-attention. 2 in both.
        heads: attention heads a block. RecBole's 2; the paper has one.
        inner: width inside the feed-forward networks. RecBole's 256; the paper's is d.
        dropout: of the input, of attention weights and of what each half of a block adds. 0.5 in
            both; the paper has 0.2 for MovieLens.
        max_length: n, the newest items of a history that are read. 20, as other systems here; the
            paper's 50, and 200 for MovieLens.
        norm: ``post``: norms of each half's sum, and of the input, as in RecBole; ``pre``: each
            half reads a normed input, as printed.
        activation: inside the feed-forward networks. RecBole's ``gelu``; the paper's ``relu``.
    """

    kind: Literal["sasrec"] = "sasrec"
    layers: int = Field(2, ge=1)
    inner: int = Field(256, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    max_length: int = Field(20, ge=1)
    norm: Literal["post", "pre"] = "post"
    activation: Literal["gelu", "relu"] = "gelu"

    # An example is a whole window with several items to predict, so a batch has fewer examples.
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"train": {"batch_size": 256}},
        "paper": {
            "seen": "as-printed",
            "model": {
                "width": 50,
                "heads": 1,
                "inner": 50,
                "max_length": 50,
                "norm": "pre",
                "activation": "relu",
            },
            "loss": {"recommendation": "bce", "negatives": 1},
            "train": {"batch_size": 128, "average": 0.0},
        },
    }
