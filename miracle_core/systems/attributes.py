"""The attributes of items as a system reads them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from miracle_core.data.attributes import Attributes


@dataclass(frozen=True)
class ItemAttributes:
    """What items are besides their text: a row for each (item, value).

    Attributes:
        items: int64 [rows], rising, places among the items.
        values: int64 [rows], numbers of values. Those of the first attribute come first, then
            those of the next.
        sizes: how many values each attribute has, attributes in the order of their names.
        kinds: int64 [rows], which attribute each row is of.
        most: how many values an item has at most. Known here, so that nothing is read back from the
            device in each step.
    """

    items: Tensor
    values: Tensor
    sizes: tuple[int, ...]
    kinds: Tensor
    most: int

    @classmethod
    def of(cls, attributes: Attributes) -> ItemAttributes:
        """The attributes of a catalogue, items in its order."""
        counts = np.diff(attributes.offsets)
        return cls.of_rows(
            torch.from_numpy(np.repeat(np.arange(len(counts)), counts)),
            torch.tensor(attributes.codes),
            sizes_of(attributes),
        )

    @classmethod
    def of_rows(cls, items: Tensor, values: Tensor, sizes: tuple[int, ...]) -> ItemAttributes:
        """From the rows, on the host: the items and values of each, and each attribute's size."""
        kinds = torch.searchsorted(torch.tensor(sizes).cumsum(0), values, right=True)
        return cls(items, values, sizes, kinds, int(items.bincount().max()) if len(items) else 0)

    def counts(self, n_items: int) -> Tensor:
        """How many values of each attribute each of the items has, int64 [items, attributes]."""
        shape = (n_items, len(self.sizes))
        cells = self.items * len(self.sizes) + self.kinds
        counts = cells.new_zeros(n_items * len(self.sizes))
        return counts.scatter_add_(0, cells, torch.ones_like(cells)).view(shape)

    def table(self, items: Tensor) -> Tensor:
        """Which values some items have: int64 [n], places among the items, to bool [n, values]."""
        first, end = (torch.searchsorted(self.items, items, right=right) for right in (False, True))
        rows = first.unsqueeze(1) + torch.arange(self.most, device=items.device)
        values = self.values[rows.clamp_max(len(self.values) - 1)]
        # Items with fewer values than the most fill a column that is cut off at the end.
        n_values = sum(self.sizes)
        column = torch.where(rows < end.unsqueeze(1), values, n_values)
        found = torch.zeros(len(items), n_values + 1, dtype=torch.bool, device=items.device)
        return found.scatter_(1, column, True)[:, :n_values]

    def to(self, device: torch.device | str) -> ItemAttributes:
        """The same on another device."""
        items, values, kinds = (each.to(device) for each in (self.items, self.values, self.kinds))
        return ItemAttributes(items, values, self.sizes, kinds, self.most)


def sizes_of(attributes: Attributes) -> tuple[int, ...]:
    """How many values each attribute has, in the order of their names."""
    return tuple(len(list(own)) for _, own in groupby(attributes.values, lambda pair: pair[0]))
