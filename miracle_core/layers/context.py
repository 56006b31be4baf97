"""Items in their histories' context, a Transformer: MIRACLE's section 3.2.2, UniSRec's 2.2.1."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.dropout import dropout
from miracle_core.layers.linear import INIT_STD
from miracle_core.layers.transformer import TransformerLayer, newest_of


class ContextEncoder(nn.Module):
    """H = Transformer(dropout(LayerNorm(x + P)))   (MIRACLE's eq. 5-6).

    Position embeddings count from the newest item: it has the last row of P in every history.

    Args:
        width: d.
        max_length: N.
        layers: L.
        heads: attention heads a layer; d must be a multiple.
        inner: width inside the feed-forward networks.
        dropout: share dropped of the input, of attention weights and of each block's output.
        eps: floor inside the layer norms.
        causal: items see themselves and older ones only; MIRACLE's see their whole history.
        activation: inside the feed-forward networks.
    """

    def __init__(
        self,
        width: int,
        max_length: int,
        layers: int = 2,
        heads: int = 2,
        inner: int = 256,
        dropout: float = 0.3,
        eps: float = 1e-12,
        *,
        causal: bool = False,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.position = nn.Parameter(torch.randn(max_length, width) * INIT_STD)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList(
            TransformerLayer(
                width, heads, inner, dropout, eps, causal=causal, activation=activation
            )
            for _ in range(layers)
        )

    def forward(self, x: Tensor, packed: Packed) -> Tensor:
        """Item vectors in their histories' context: [tokens, d] to [tokens, d]."""
        h = self._placed(x, packed)
        for layer in self.layers:
            h = layer(h, packed)
        return h

    def newest(self, x: Tensor, packed: Packed) -> Tensor:
        """Each history's newest item in its context, without dropout: [histories, d].

        Args:
            x: [tokens, d], item vectors.
            packed: the histories.
        """
        return newest_of(self.layers, self._placed(x, packed), packed)

    def _placed(self, x: Tensor, packed: Packed) -> Tensor:
        h: Tensor = self.norm(x + F.embedding(packed.positions, self.position))
        return dropout(h, self.dropout, self.training)
