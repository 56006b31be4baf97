"""Section 3.2.2: deeply-contextualised item vectors, a bidirectional Transformer (eq. 5-6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.model.adaptor import INIT_STD
from miracle_core.model.attention import packed_attention
from miracle_core.model.dropout import add_dropout, dropout


class ContextEncoder(nn.Module):
    """H = Transformer(dropout(LayerNorm(x + P)))   (eq. 5-6).

    Position embeddings count from the newest item: it has the last row of P in every history.

    Args:
        width: d.
        max_length: N.
        layers: L.
        heads: attention heads a layer; d must be a multiple.
        inner: width inside the feed-forward networks.
        dropout: share dropped of the input, of attention weights and of each block's output.
        eps: floor inside the layer norms.
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
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.position = nn.Parameter(torch.randn(max_length, width) * INIT_STD)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, inner, dropout, eps) for _ in range(layers)
        )

    def forward(self, x: Tensor, packed: Packed) -> Tensor:
        """Item vectors in their histories' context: [tokens, d] to [tokens, d]."""
        h: Tensor = self.norm(x + F.embedding(packed.positions, self.position))
        h = dropout(h, self.dropout, self.training)
        for layer in self.layers:
            h = layer(h, packed)
        return h


class TransformerLayer(nn.Module):
    """One post-norm Transformer layer over packed histories (eq. 6; Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query_key_value = _linear(width, 3 * width)
        self.output = _linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.inner = _linear(width, inner)
        self.outer = _linear(inner, width)
        self.inner_norm = nn.LayerNorm(width, eps=eps)

    def forward(self, h: Tensor, packed: Packed) -> Tensor:
        """[tokens, d] to [tokens, d]; items of one history see each other and no one else."""
        attended = packed_attention(
            self.query_key_value(h), packed.groups, self.heads, self.dropout, self.training
        )
        attended = self.output(attended)
        h = self.attention_norm(add_dropout(h, attended, self.dropout, self.training))
        fed = self.outer(F.gelu(self.inner(h)))
        normed: Tensor = self.inner_norm(add_dropout(h, fed, self.dropout, self.training))
        return normed


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=INIT_STD)
    nn.init.zeros_(layer.bias)
    return layer
