"""The settings of item-based nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.config import ModelSettings


class ItemKnnSettings(ModelSettings):
    """Cosine with shrinkage.

    Attributes:
        neighbours: the most similar items kept of each item.
        shrink: added to the cosine's denominator, so that items that few users share count less.
    """

    kind: Literal["itemknn"] = "itemknn"
    neighbours: int = Field(100, ge=1)
    shrink: float = Field(10.0, ge=0)

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {"seen": "as-printed"}}
