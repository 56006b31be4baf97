"""An item's features as one vector: vanilla attention over its text and its attributes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.layers.linear import INIT_STD, linear
from miracle_core.systems.attributes import ItemAttributes


class ItemFeatures(nn.Module):
    """f_i = sum_k alpha_ik a_ik with alpha_i = softmax_k(w . relu(W a_ik + b) + c).

    a_i1 is a linear map of the text vector. Each attribute adds one more vector: the mean of the
    embeddings of the values that the item has. An attribute of which an item has no value gets no
    weight.

    Args:
        text_width: d_b.
        attributes: how many values each attribute has.
        width: d.
    """

    def __init__(self, text_width: int, attributes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.n_attributes = len(attributes)
        self.text = linear(text_width, width)
        self.value = nn.Parameter(torch.randn(sum(attributes), width) * INIT_STD)
        self.hidden = linear(width, width)
        self.logit = linear(width, 1)

    def forward(self, text: Tensor, attributes: ItemAttributes | None) -> Tensor:
        """Features of items.

        Args:
            text: [items, d_b].
            attributes: of the same items; None where their Dataset has none.

        Returns:
            [items, d].
        """
        first: Tensor = self.text(text)
        if attributes is None or not self.n_attributes:
            return first  # of one feature the weight is 1
        means, there = self._means(len(text), attributes)
        vectors = torch.cat([first.unsqueeze(1), means], 1)
        logits: Tensor = self.logit(F.relu(self.hidden(vectors))).squeeze(2)
        there = F.pad(there, (1, 0), value=True)
        weights = logits.masked_fill(~there, -torch.inf).softmax(1)
        return (weights.unsqueeze(2) * vectors).sum(1)

    def _means(self, n_items: int, attributes: ItemAttributes) -> tuple[Tensor, Tensor]:
        """Each attribute's mean embedding [items, attributes, d]; and whether there is a value."""
        cells = attributes.items * self.n_attributes + attributes.kinds
        counts = attributes.counts(n_items)
        embedded = F.embedding(attributes.values, self.value)
        sums = embedded.new_zeros(counts.numel(), embedded.shape[1]).index_add(0, cells, embedded)
        means = sums / counts.view(-1, 1).clamp_min(1)
        return means.unflatten(0, counts.shape), counts > 0
