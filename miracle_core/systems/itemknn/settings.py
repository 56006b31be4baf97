"""The settings of item-based nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.config import Choice, ModelSettings, SearchSpace, Uniform


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
    SEARCH: ClassVar[SearchSpace] = {
        "model.neighbours": Choice((10, 20, 50, 100, 200, 500)),
        "model.shrink": Uniform(1.0, 300.0, log=True),
    }
