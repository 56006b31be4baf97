"""GRU4Rec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import PackedSequence

from miracle_core.data.packed import Packed
from miracle_core.layers.dropout import dropout
from miracle_core.layers.linear import INIT_STD, linear
from miracle_core.systems.base import ItemSide, Sizes
from miracle_core.systems.gru4rec.settings import GRU4RecSettings
from miracle_core.systems.sequence import SequenceSystem

if TYPE_CHECKING:
    from miracle_core.config import Settings


class GRU4Rec(SequenceSystem):
    """GRU4Rec."""

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        s = settings.model
        if not isinstance(s, GRU4RecSettings) or sizes.items is None:
            raise ValueError("GRU4Rec needs its own settings and a catalogue")
        self.max_length: int = s.max_length
        self.dropout = s.dropout
        self.item = nn.Parameter(torch.empty(sizes.items, s.width))
        import os; nn.init.normal_(self.item, std=float(os.environ.get("STD","0.02")))
        widths = [s.width] + [s.hidden] * s.layers
        self.layers = nn.ModuleList(nn.GRU(a, b, bias=False) for a, b in zip(widths, widths[1:]))
        for layer in self.layers:
            for p in layer.parameters():
                nn.init.xavier_uniform_(p)
        self.output = nn.Linear(s.hidden, s.width)
        if settings.seen == "gain":
            self.learn_gain()

    def inputs(self, items: ItemSide) -> Tensor:
        return self.item if items.rows is None else F.embedding(items.rows, self.item)

    def hidden(self, tokens: Tensor, packed: Packed) -> Tensor:
        order, sizes = by_time(packed)
        h = dropout(tokens[order], self.dropout, self.training)
        for i, layer in enumerate(self.layers):
            if i:
                h = dropout(h, self.dropout, self.training)
            h = layer(PackedSequence(h, sizes))[0].data
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return self.output(h)[back]


def by_time(packed: Packed) -> tuple[Tensor, Tensor]:
    lengths = packed.lengths()
    history = packed.history_of_token()
    starts = lengths.cumsum(0) - lengths
    device = lengths.device
    place = torch.arange(packed.n_tokens, device=device) - starts[history]
    order = (place * packed.n_histories + packed.n_histories - 1 - history).argsort()
    sizes = torch.bincount(place).cpu()
    return order, sizes
