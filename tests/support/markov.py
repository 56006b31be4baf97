"""A system of one's own, as docs/systems.md explains it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from miracle_core.config import ModelSettings, Settings
from miracle_core.data.packed import Packed
from miracle_core.ranking.interests import Interests
from miracle_core.registry import SystemSpec
from miracle_core.systems.base import Encoded, ItemSide, Sizes, System


class MarkovSettings(ModelSettings):
    kind: Literal["markov"] = "markov"
    width: int = 32


class Markov(System):
    """What comes next follows from the newest item alone."""

    max_length = 1

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        self.now = nn.Parameter(torch.randn(sizes.items, settings.model.width) * 0.1)
        self.next = nn.Parameter(torch.randn(sizes.items, settings.model.width) * 0.1)
        if settings.seen == "gain":
            self.learn_gain()

    def inputs(self, items: ItemSide) -> Tensor:
        return torch.cat([self.now, self.next], 1)

    def candidates(self, inputs: Tensor) -> Tensor:
        return inputs.chunk(2, 1)[1]

    def encode(self, tokens: Tensor, packed: Packed) -> Encoded:
        return Encoded(Interests.single(tokens.chunk(2, 1)[0]))


SPEC = SystemSpec(
    "markov",
    "Markov",
    "The newest item alone",
    settings="tests.support.markov:MarkovSettings",
    system="tests.support.markov:Markov",
)
