"""FDSA: self-attention over items beside self-attention over their features (Zhang et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.adaptor import scaled
from miracle_core.layers.context import ContextEncoder
from miracle_core.layers.dropout import dropout
from miracle_core.layers.linear import INIT_STD, linear
from miracle_core.systems.base import ItemSide, Sizes
from miracle_core.systems.fdsa.features import ItemFeatures
from miracle_core.systems.fdsa.settings import FDSASettings
from miracle_core.systems.sequence import SequenceSystem

if TYPE_CHECKING:
    from miracle_core.config import Settings

EPS = 1e-12


class FDSA(SequenceSystem):
    """Zhang et al., *Feature-level Deeper Self-Attention Network*, IJCAI 2019.

    A history is read twice, from left to right: as embeddings of its items, and as its items'
    features, of which vanilla attention makes one vector an item (:class:`ItemFeatures`). Each
    stream adds position embeddings and goes through blocks of causal self-attention and a
    position-wise network, a norm after each sum. The two states side by side go through a fully
    connected layer, o = [o_s; o_f] W + b, and an item's score is o . e_i with the embedding of the
    item stream.

    A token is an item's embedding and its feature vector side by side, [items, 2 d].

    Published: one negative for each item that came next (binary cross-entropy) and ReLU: the preset
    ``paper``, with n = 50. The authors' widths and depths are not known here, so the preset keeps
    the defaults. What differs here:

    - The text feature is a linear map of a text encoder's vector; the paper averages the vectors of
      key words. An attribute with several values is the mean of their embeddings.
    - A feature's weight is a single number, from a network of one hidden layer, as in RecBole.
    - The default loss is the softmax over the catalogue, as RecBole's and SASRec's here.
    - As in RecBole, norm and dropout follow the fully connected layer, and a norm the sum with the
      positions. Here each stream has positions and norms of its own; RecBole shares them.
    - AdamW with a running mean of weights, the history's gain, and sequences longer than n cut into
      windows, as every sequence system here.
    """

    padded: ClassVar[bool] = True

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        s = settings.model
        if not isinstance(s, FDSASettings) or sizes.items is None or sizes.text is None:
            raise ValueError("FDSA needs its own settings, a catalogue and text vectors")
        self.max_length = s.max_length
        self.dropout = s.dropout
        self.item = nn.Parameter(torch.randn(sizes.items, s.width) * INIT_STD)
        self.features = ItemFeatures(sizes.text, sizes.attributes, s.width)
        self.item_stream, self.feature_stream = (
            ContextEncoder(
                s.width,
                s.max_length,
                s.layers,
                s.heads,
                s.inner,
                s.dropout,
                EPS,
                causal=True,
                activation=F.gelu if s.activation == "gelu" else F.relu,
            )
            for _ in range(2)
        )
        self.output = linear(2 * s.width, s.width)
        self.output_norm = nn.LayerNorm(s.width, eps=EPS)
        if settings.seen == "gain":
            self.learn_gain()

    def prepared(self, text: Tensor) -> Tensor:
        """Text vectors with a root mean square of 1; zeros stay zeros. [items, d_b]."""
        return scaled(text, "unit")

    def inputs(self, items: ItemSide) -> Tensor:
        """The items' embeddings beside their features, [items, 2 d]."""
        features = self.features(items.required_text(), items.attributes)
        return torch.cat([items.of_table(self.item), features], 1)

    def candidates(self, inputs: Tensor) -> Tensor:
        """The embeddings: [items, 2 d] to [items, d]."""
        return inputs.chunk(2, 1)[0]

    def hidden(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The state at each item: [tokens, 2 d] to [tokens, d]."""
        items, features = tokens.chunk(2, 1)
        both = [self.item_stream(items, packed), self.feature_stream(features, packed)]
        return self._joined(both)

    def newest(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The state at each history's newest item: [tokens, 2 d] to [histories, d]."""
        items, features = tokens.chunk(2, 1)
        streams = (self.item_stream, items), (self.feature_stream, features)
        return self._joined([stream.newest(read, packed) for stream, read in streams])

    def _joined(self, both: list[Tensor]) -> Tensor:
        """One state of two: [o_s; o_f] W + b, a norm and dropout."""
        state = self.output_norm(self.output(torch.cat(both, 1)))
        return dropout(state, self.dropout, self.training)
