"""GRU4Rec: a recurrent network that reads a history from left to right (Hidasi et al. 2016)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import PackedSequence

from miracle_core.data.packed import Packed
from miracle_core.layers.dropout import dropout
from miracle_core.layers.linear import linear
from miracle_core.systems.base import ItemSide, Sizes
from miracle_core.systems.gru4rec.settings import GRU4RecSettings
from miracle_core.systems.sequence import SequenceSystem

if TYPE_CHECKING:
    from miracle_core.config import Settings


class GRU4Rec(SequenceSystem):
    """Hidasi et al., *Session-based Recommendations with Recurrent Neural Networks*, ICLR 2016.

    Gated recurrent units (eq. 1-4) read item embeddings, and a linear layer makes the state a
    vector that scores multiply. Hidasi and Karatzoglou 2018 improve the loss (``loss.recommendation
    = "bpr-max"``) and share the item vectors of input and scores, as here ("constrained
    embedding").

    Published: 100 units (1000 with more data), one layer, batches of 32 to 500, TOP1 or BPR loss;
    in 2018 2,048 more negatives a step and BPR-max: the preset ``paper``. What differs here:

    - The default loss is the softmax over the catalogue; ``loss.recommendation`` has ``top1`` and
      ``bpr`` of 2016, and ``top1-max`` and ``bpr-max`` of 2018.
    - The candidate state is tanh(W x + r * (U h)), as PyTorch's kernels compute it; eq. 3 has W x +
      U (r * h). The update gate weighs the old state, not the new one: the same up to its sign.
    - Whole histories are a batch's examples, in place of session-parallel mini-batches; negatives
      are drawn for each item, in place of the batch's other items.
    - Item vectors begin with a length near 1. From numbers near 0.02, as usual, the gates get so
      little input that the first epochs of a short training learn next to nothing.
    - AdamW with a running mean of weights in place of AdaGrad, and the history's gain.
    """

    padded: ClassVar[bool] = True

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        s = settings.model
        if not isinstance(s, GRU4RecSettings) or sizes.items is None:
            raise ValueError("GRU4Rec needs its own settings and a catalogue")
        self.max_length = s.max_length
        self.dropout = s.dropout
        self.item = nn.Parameter(torch.randn(sizes.items, s.width) * s.width**-0.5)
        widths = pairwise([s.width, *[s.hidden] * s.layers])
        self.layers = nn.ModuleList(nn.GRU(below, own, bias=False) for below, own in widths)
        for weights in self.layers.parameters():
            nn.init.xavier_uniform_(weights)
        self.output = linear(s.hidden, s.width)
        if settings.seen == "gain":
            self.learn_gain()

    def inputs(self, items: ItemSide) -> Tensor:
        """The items' embeddings, [items, d]."""
        return items.of_table(self.item)

    def hidden(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The last layer's state after each item: [tokens, d] to [tokens, d]."""
        if packed.valid is not None:
            return self._padded(tokens, packed)
        order, steps = by_step(packed)
        h = F.embedding(order, tokens)
        for layer in self.layers:
            read = PackedSequence(dropout(h, self.dropout, self.training), steps)
            h = layer(read)[0].data
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        states: Tensor = self.output(F.embedding(back, h))
        return states

    def newest(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The last layer's state after each history's newest item: [tokens, d] to [histories, d].

        This is the final state of the last recurrent layer; only it goes through the output layer.
        """
        if packed.valid is not None:
            return super().newest(tokens, packed)
        order, steps = by_step(packed)
        h = PackedSequence(F.embedding(order, tokens), steps)
        for layer in self.layers:
            h, last = layer(h)
        # The longest history comes first in a step, and last in a packed batch.
        states: Tensor = self.output(last[0].flip(0))
        return states

    def _padded(self, tokens: Tensor, packed: Packed) -> Tensor:
        """:meth:`hidden` of padded histories, one product a step.

        Padding comes first and is set to 0. The units have no bias, so they keep a state of 0 until
        the first item, as at the beginning of a packed history.
        """
        h = packed.filled(tokens, 0.0).view(packed.n_histories, -1, tokens.shape[1])
        for layer in self.layers:
            h = layer(dropout(h, self.dropout, self.training).transpose(0, 1))[0].transpose(0, 1)
        states: Tensor = self.output(h.flatten(0, 1))
        return states


def by_step(packed: Packed) -> tuple[Tensor, Tensor]:
    """The order in which a recurrent network reads tokens: the oldest of all histories, and so on.

    Returns:
        int64 [tokens], the token at each place, longer histories first within a step; and the
        number of tokens of each step, int64 [steps], on the CPU. ``PackedSequence`` needs both.
    """
    place, n = packed.places(), packed.n_histories
    order = (place * n - packed.history_of_token()).argsort()
    counts = torch.tensor([count for _, count in packed.groups])
    lengths = torch.tensor([length for length, _ in packed.groups])
    longer = torch.arange(int(lengths[-1])).unsqueeze(1) < lengths
    return order, (longer * counts).sum(1)
