"""Nearness of text, without learning: the cosine with the nearest item of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.ranking.interests import Interests
from miracle_core.systems.base import Encoded, ItemSide, Sizes, System
from miracle_core.systems.explanation import VectorExplanation
from miracle_core.systems.simple.settings import TextKnnSettings

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.data.dataset import Dataset


class TextKnn(System):
    """Each item of a history is an interest, and the best one's cosine counts (eq. 17).

    Every item is nearest to itself. With the seen rule "as-printed" a history's own items come
    first in its list.
    """

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        assert isinstance(settings.model, TextKnnSettings)
        self.max_length = settings.model.max_length

    def fit(self, dataset: Dataset, seed: int) -> None:
        """Nothing is learned."""

    def prepared(self, text: Tensor) -> Tensor:
        """The directions of text vectors; a vector of zeros stays one."""
        return F.normalize(text, dim=-1)

    def inputs(self, items: ItemSide) -> Tensor:
        """The directions, [items, d_b]."""
        return items.required_text()

    def encode(self, tokens: Tensor, packed: Packed) -> Encoded:
        """Every item of a history."""
        histories = torch.arange(packed.n_histories, device=tokens.device)
        which = torch.zeros_like(packed.items)
        return Encoded(Interests(tokens, which, histories, packed.groups))

    def explain(self, tokens: Tensor, packed: Packed, candidates: Tensor) -> VectorExplanation:
        """The whole of a score comes from the history item that is nearest."""
        return VectorExplanation(
            vectors=tokens.flip(0),
            candidates=candidates,
            which=(0,) * len(tokens),
            strengths=(1.0,) * len(tokens),
            parts=torch.eye(len(tokens), device=tokens.device).flip(1).unsqueeze(2)
            * tokens.unsqueeze(1),
        )
