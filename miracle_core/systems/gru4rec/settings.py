"""The settings of GRU4Rec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.config import Choice, ModelSettings, SearchSpace, Uniform


class GRU4RecSettings(ModelSettings):
    """The network (Hidasi et al. 2016, section 3).

    The defaults are RecBole's, but for ``max_length``. The preset ``paper`` has the paper's network
    (table 2: 100 units, one layer) with the improved loss and the shared item vectors of 2018.

    Attributes:
        width: d, width of item vectors. RecBole's 64.
        hidden: units of a recurrent layer. RecBole's 128; the paper's 100 and 1000.
        layers: recurrent layers; 1 in both.
        dropout: of item vectors, and of what each recurrent layer but the last gives. RecBole's
            0.3.
        max_length: the newest items of a history that are read. 20, as other systems here; the
            paper has no limit.
    """

    kind: Literal["gru4rec"] = "gru4rec"
    width: int = Field(64, ge=1)
    hidden: int = Field(128, ge=1)
    layers: int = Field(1, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    max_length: int = Field(20, ge=1)

    # An example is a whole window with several items to predict, so a batch has fewer examples.
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"train": {"batch_size": 256}},
        "paper": {
            "seen": "as-printed",
            "model": {"width": 100, "hidden": 100},
            "loss": {"recommendation": "bpr-max", "negatives": 2048},
            "train": {"batch_size": 32, "average": 0.0},
        },
    }
    SEARCH: ClassVar[SearchSpace] = {
        "train.learning_rate": Uniform(1e-4, 1e-2, log=True),
        "train.weight_decay": Choice((0.0, 1e-4, 1e-2)),
        "model.width": Choice((32, 64, 128, 256)),
        "model.hidden": Choice((64, 128, 256)),
        "model.layers": Choice((1, 2)),
        "model.dropout": Uniform(0.0, 0.6),
    }
