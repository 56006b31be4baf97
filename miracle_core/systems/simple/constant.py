"""Systems with the same list for every user: popularity, and a random order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.ranking.interests import Interests
from miracle_core.systems.base import Encoded, ItemSide, Sizes, System

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.data.dataset import Dataset


class Constant(System):
    """One score an item, the same for every user.

    As vectors: an item is its score, [items, 1], and everybody has the one interest 1.
    """

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        self.constant: Tensor
        self.register_buffer("constant", torch.zeros(sizes.items or 0, dtype=torch.float64))

    def inputs(self, items: ItemSide) -> Tensor:
        """The scores as one-dimensional vectors, [items, 1]."""
        return items.of_table(self.constant.unsqueeze(1))

    def encode(self, tokens: Tensor, packed: Packed) -> Encoded:
        """One interest of 1 for everybody."""
        return Encoded(Interests.single(self.constant.new_ones(packed.n_histories, 1)))


class Popularity(Constant):
    """Items by how often they occur in the training part."""

    def fit(self, dataset: Dataset, seed: int) -> None:
        """Count how often each item occurs in the training part."""
        self.constant.copy_(torch.from_numpy(dataset.training_counts()))


class RandomOrder(Constant):
    """A random order of the catalogue."""

    def fit(self, dataset: Dataset, seed: int) -> None:
        """Draw the order from the seed."""
        order: Any = np.random.default_rng(seed).permutation(dataset.n_items)
        self.constant.copy_(torch.from_numpy(order))
