"""The settings of ComiRec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.config import Choice, ModelSettings, SearchSpace, Uniform


class ComiRecSettings(ModelSettings):
    """The network (Cen et al. 2020, section 3).

    Attributes:
        routing: what makes interests: ``dr``, dynamic routing, or ``sa``, self-attention.
        width: d, of item vectors and interests; the authors' 64.
        interests: K, interests a user; the authors' 4.
        iterations: r, routing iterations of ``dr``; the authors' 3.
        max_length: the newest items of a history that are read; the authors' 20.
        score: ``cosine``, or the ``inner`` product as printed.
        temperature: what scores are divided by in the loss; 0.07 is MIRACLE's for cosines, 1
            belongs to inner products.
    """

    kind: Literal["comirec"] = "comirec"
    routing: Literal["dr", "sa"] = "sa"
    width: int = Field(64, ge=1)
    interests: int = Field(4, ge=1)
    iterations: int = Field(3, ge=1)
    max_length: int = Field(20, ge=1)
    score: Literal["inner", "cosine"] = "cosine"
    temperature: float = Field(0.07, gt=0)

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "paper": {
            "seen": "as-printed",
            # Ten for each example, which all examples of a batch share.
            "loss": {"recommendation": "sampled-softmax", "negatives": 1280},
            "model": {"score": "inner", "temperature": 1.0},
            "train": {"average": 0.0, "batch_size": 128, "learning_rate": 0.001},
        },
    }
    SEARCH: ClassVar[SearchSpace] = {
        "train.learning_rate": Uniform(1e-4, 1e-2, log=True),
        "train.weight_decay": Choice((0.0, 1e-4, 1e-2)),
        "model.width": Choice((32, 64, 128, 256)),
        "model.interests": Choice((1, 2, 4, 8)),
        "model.temperature": Uniform(0.03, 0.2, log=True),
        "model.routing": Choice(("sa", "dr")),
    }
