"""SASRec: self-attention from left to right (Kang and McAuley 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.dropout import dropout
from miracle_core.layers.linear import INIT_STD
from miracle_core.layers.transformer import TransformerLayer, newest_of
from miracle_core.systems.base import ItemSide, Sizes
from miracle_core.systems.sasrec.settings import SASRecSettings
from miracle_core.systems.sequence import SequenceSystem

if TYPE_CHECKING:
    from miracle_core.config import Settings

EPS = 1e-12


class SASRec(SequenceSystem):
    """Kang and McAuley, *Self-Attentive Sequential Recommendation*, ICDM 2018.

    Item and position embeddings are added (eq. 1); b blocks of causal self-attention (eq. 2-3) and
    a position-wise network (eq. 4) follow, with dropout and residual connections (section III-D).
    An item's score is its embedding times the last block's state (eq. 5): items have one embedding,
    for input and scores. Positions count from the newest item, as the paper's padding on the left
    has it.

    Published: d 50, 2 blocks, 1 head, dropout 0.5 (0.2 on MovieLens), n 50 (200), one negative an
    item, Adam at 0.001, batches of 128: the preset ``paper``. What differs here:

    - The default loss is the softmax over the catalogue, not eq. 6 with one negative: SASRec is
      known to need it, or many negatives, to be at its best (Klenitskiy and Vasilev 2023).
    - The default block is RecBole's, with norms after each sum and GELU (``model.norm``,
      ``model.activation``): it learns in fewer epochs. With ``pre`` one more norm follows the last
      block, as in the authors' code.
    - The attended values go through a matrix before they are added, as in Vaswani et al. 2017; eq.
      3 has none. Where there is one head it only adds parameters.
    - AdamW with a running mean of weights, and the history's gain, as every system here.
    - A sequence longer than n is cut into windows, each item being predicted once; the paper
      trains on the newest n items only.
    """

    padded: ClassVar[bool] = True

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        s = settings.model
        if not isinstance(s, SASRecSettings) or sizes.items is None:
            raise ValueError("SASRec needs its own settings and a catalogue")
        self.max_length = s.max_length
        self.dropout = s.dropout
        self.pre_norm = s.norm == "pre"
        self.item = nn.Parameter(torch.randn(sizes.items, s.width) * INIT_STD)
        self.position = nn.Parameter(torch.randn(s.max_length, s.width) * INIT_STD)
        # The norm of the input; with pre_norm that of the last block's states.
        self.norm = nn.LayerNorm(s.width, eps=EPS)
        self.layers = nn.ModuleList(
            TransformerLayer(
                s.width,
                s.heads,
                s.inner,
                s.dropout,
                EPS,
                causal=True,
                pre_norm=self.pre_norm,
                activation=F.gelu if s.activation == "gelu" else F.relu,
            )
            for _ in range(s.layers)
        )
        if settings.seen == "gain":
            self.learn_gain()

    def inputs(self, items: ItemSide) -> Tensor:
        """The items' embeddings, [items, d]."""
        return items.of_table(self.item)

    def hidden(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The last block's state at each item: [tokens, d] to [tokens, d]."""
        h = self._placed(tokens, packed)
        for layer in self.layers:
            h = layer(h, packed)
        return self.norm(h) if self.pre_norm else h

    def newest(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The last block's state at each history's newest item: [tokens, d] to [histories, d]."""
        h = newest_of(self.layers, self._placed(tokens, packed), packed)
        return self.norm(h) if self.pre_norm else h

    def _placed(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The input of the first block (eq. 1), with dropout: [tokens, d] to [tokens, d]."""
        h = tokens + F.embedding(packed.positions, self.position)
        return dropout(h if self.pre_norm else self.norm(h), self.dropout, self.training)
