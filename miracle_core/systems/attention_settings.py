"""What the settings of systems with attention heads have in common."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from miracle_core.config import Choice, ModelSettings, SearchSpace, Uniform


class AttentionSettings(ModelSettings):
    """Vectors that attention heads share evenly.

    Attributes:
        width: d, columns of a vector.
        heads: attention heads; each has width / heads columns.
    """

    width: int = Field(64, ge=1)
    heads: int = Field(2, ge=1)

    SEARCH: ClassVar[SearchSpace] = {
        "train.learning_rate": Uniform(1e-4, 1e-2, log=True),
        "train.weight_decay": Choice((0.0, 1e-4, 1e-2)),
        "model.width": Choice((32, 64, 128, 256)),
        "model.layers": Choice((1, 2, 3)),
        "model.heads": Choice((1, 2, 4)),
        "model.dropout": Uniform(0.1, 0.7),
    }

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
