"""The settings of S3-Rec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from miracle_core.config.sections import Start
from miracle_core.systems.attention_settings import AttentionSettings


class S3RecSettings(AttentionSettings):
    """The network and the weights of its objectives (Zhou et al. 2020, sections 4 and 5.1).

    Attributes:
        width: d.
        layers: L, blocks of self-attention.
        heads: attention heads a block.
        inner: width inside the feed-forward networks.
        dropout: of the input, of attention weights and of what each half of a block adds.
        max_length: n, the newest items of a history that are read. 20, as other systems here; the
            paper's 50.
        mask_probability: of each item of a sequence to be masked; the last one always is.
        item_attribute: weight of the objective AAP, which predicts an item's attributes from its
            embedding. A weight of 0 leaves an objective out.
        masked_item: weight of MIP, which predicts a masked item from the items around it.
        masked_attribute: weight of MAP, which predicts a masked item's attributes in the same way.
        segment: weight of SP, which predicts a masked segment from the items around it.
    """

    kind: Literal["s3rec"] = "s3rec"
    layers: int = Field(2, ge=1)
    inner: int = Field(256, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    max_length: int = Field(20, ge=2)
    mask_probability: float = Field(0.2, ge=0, le=1)
    item_attribute: float = Field(0.2, ge=0)
    masked_item: float = Field(1.0, ge=0)
    masked_attribute: float = Field(1.0, ge=0)
    segment: float = Field(0.5, ge=0)

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "paper": {
            "seen": "as-printed",
            "model": {"max_length": 50},
            "train": {"average": 0.0},
        },
    }

    @classmethod
    def ground(cls, preset: str, start: Start) -> Mapping[str, Any]:
        """Pre-training is validated by its own loss; the paper fine-tunes with one negative."""
        if start == "pretraining":
            epochs = 100 if preset == "paper" else 40
            return {"train": {"epochs": epochs, "batch_size": 256, "metric": "loss"}}
        # An example is a whole window with several items to predict: a batch has fewer examples.
        train = {"batch_size": 256}
        if preset == "paper":
            return {"train": train, "loss": {"recommendation": "bce", "negatives": 1}}
        return {"train": train}
