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
    """

    items: Tensor
    values: Tensor
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, attributes: Attributes) -> ItemAttributes:
        """Those of a catalogue, in its order."""
        counts = np.diff(attributes.offsets)
        return cls(
            torch.from_numpy(np.repeat(np.arange(len(counts)), counts)),
            torch.tensor(attributes.codes),
            sizes_of(attributes),
        )

    def kinds(self) -> Tensor:
        """Which attribute each row is of, int64 [rows]."""
        ends = torch.tensor(self.sizes, device=self.values.device).cumsum(0)
        return torch.searchsorted(ends, self.values, right=True)

    def table(self, items: Tensor) -> Tensor:
        """Which values some items have: int64 [n], places among the items, to bool [n, values]."""
        starts = torch.searchsorted(self.items, items)
        counts = torch.searchsorted(self.items, items, right=True) - starts
        rows = torch.repeat_interleave(counts)
        within = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        found = torch.zeros(len(items), sum(self.sizes), dtype=torch.bool, device=rows.device)
        found[rows, self.values[starts[rows] + within]] = True
        return found

    def to(self, device: torch.device | str) -> ItemAttributes:
        """The same on another device."""
        return ItemAttributes(self.items.to(device), self.values.to(device), self.sizes)


def sizes_of(attributes: Attributes) -> tuple[int, ...]:
    """How many values each attribute has, in the order of their names."""
    return tuple(len(list(own)) for _, own in groupby(attributes.values, lambda pair: pair[0]))
