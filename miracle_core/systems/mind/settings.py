"""The settings of MIND."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from miracle_core.config import Choice, ModelSettings, SearchSpace, Uniform


class MindSettings(ModelSettings):
    """The network (Li et al. 2019, section 4).

    Attributes:
        width: d, of item vectors and interests; 64 as the authors of ComiRec give MIND.
        interests: K, the most interests a user can have; 4, likewise.
        iterations: r, routing iterations; 3, as in Sabour et al. 2017.
        power: p of the label-aware attention: 1 mixes the interests by their softmax, a large one
            takes the nearest interest alone.
        max_length: the newest items of a history that are read.
        score: ``cosine``, or the ``inner`` product as printed.
        temperature: what scores are divided by, in the loss and before they are raised to
            ``power``; 0.07 is MIRACLE's for cosines, 1 belongs to inner products.
    """

    kind: Literal["mind"] = "mind"
    width: int = Field(64, ge=1)
    interests: int = Field(4, ge=1)
    iterations: int = Field(3, ge=1)
    power: float = Field(2.0, ge=1, le=16)
    max_length: int = Field(20, ge=1)
    score: Literal["inner", "cosine"] = "cosine"
    temperature: float = Field(0.07, gt=0)

    SEARCH: ClassVar[SearchSpace] = {
        "train.learning_rate": Uniform(1e-4, 1e-2, log=True),
        "train.weight_decay": Choice((0.0, 1e-4, 1e-2)),
        "model.width": Choice((32, 64, 128, 256)),
        "model.interests": Choice((1, 2, 4, 8)),
        "model.iterations": Choice((1, 2, 3)),
        "model.temperature": Uniform(0.03, 0.2, log=True),
        "model.power": Uniform(1.0, 8.0),
    }
