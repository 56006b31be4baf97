"""The settings of systems without weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.config import Choice, ModelSettings, SearchSpace

# Nothing learns a gain here.
_AS_PRINTED: Mapping[str, Mapping[str, Any]] = {"default": {"seen": "as-printed"}}


class PopularitySettings(ModelSettings):
    """Popularity has none."""

    kind: Literal["popularity"] = "popularity"

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = _AS_PRINTED


class RandomSettings(ModelSettings):
    """Random has none: its order follows from ``train.seed``."""

    kind: Literal["random"] = "random"

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = _AS_PRINTED


class TextKnnSettings(ModelSettings):
    """Nearness of text.

    Attributes:
        max_length: the newest items of a history that are read.
    """

    kind: Literal["textknn"] = "textknn"
    max_length: int = Field(20, ge=1)

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"seen": "leave-out", "train": {"mode": "inductive"}}
    }
    SEARCH: ClassVar[SearchSpace] = {"model.max_length": Choice((1, 2, 3, 5, 10, 20, 50))}
