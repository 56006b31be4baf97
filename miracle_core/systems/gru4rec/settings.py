"""The settings of GRU4Rec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.config import ModelSettings


class GRU4RecSettings(ModelSettings):
    """The network (Hidasi et al. 2016, section 3).

    Attributes:
        width: d, width of item vectors.
        hidden: units of a recurrent layer.
        layers: recurrent layers.
        dropout: of item vectors, and of what each recurrent layer gives.
        max_length: the newest items of a history that are read.
    """

    kind: Literal["gru4rec"] = "gru4rec"
    width: int = Field(64, ge=1)
    hidden: int = Field(128, ge=1)
    layers: int = Field(1, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    max_length: int = Field(20, ge=1)

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {"train": {"batch_size": 256}}}
