"""The settings of BERT4Rec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.config import SearchSpace, Uniform
from miracle_core.systems.attention_settings import AttentionSettings


class Bert4RecSettings(AttentionSettings):
    """The network and its masks (Sun et al. 2019, sections 3 and 4.4).

    The network is as large as that of ``sasrec`` here, so that the two compare. The preset
    ``paper`` has the authors' settings for Beauty.

    Attributes:
        width: d. 64 in the authors' smallest network.
        layers: L, Transformer layers. The paper's 2.
        heads: attention heads a layer. The paper has 32 columns a head: 2.
        inner: width inside the feed-forward networks. The paper's is 4 d.
        dropout: of the input, of attention weights and of what each half of a layer adds. The
            authors have 0.5 on Beauty (attention weights 0.2), RecBole 0.2. More than that made
            learning slower (docs/decisions/0072).
        max_length: N, the newest items of a history that are read. 20, as other systems here; the
            paper's 50 on Beauty and Steam, 200 on MovieLens.
        masked: rho, the share of a sequence's items that are masked, at least one of them. The
            paper's 0.6 on Beauty, 0.4 on Steam, 0.2 on MovieLens.
        last_only: the share of sequences in which only the last item is masked, as in ranking. The
            authors' data has one in eleven.
    """

    kind: Literal["bert4rec"] = "bert4rec"
    layers: int = Field(2, ge=1)
    inner: int = Field(256, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    max_length: int = Field(20, ge=1)
    masked: float = Field(0.6, gt=0, lt=1)
    last_only: float = Field(0.1, ge=0, le=1)

    # An example is a whole window with several items to predict, so a batch has fewer examples.
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"train": {"batch_size": 256}},
        "paper": {
            "seen": "as-printed",
            "model": {"max_length": 50, "dropout": 0.5, "masked": 0.6, "last_only": 1 / 11},
            "train": {
                "batch_size": 256,
                "learning_rate": 1e-4,
                "weight_decay": 0.01,
                "clip": 5.0,
                "average": 0.0,
            },
        },
    }

    SEARCH: ClassVar[SearchSpace] = {
        **AttentionSettings.SEARCH,
        "model.masked": Uniform(0.1, 0.8),
    }
