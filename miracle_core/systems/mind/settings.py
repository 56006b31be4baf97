"""The settings of MIND."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from miracle_core.config import ModelSettings


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
