"""A Transformer layer over packed histories (Vaswani et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.attention import packed_attention
from miracle_core.layers.dropout import add_dropout
from miracle_core.layers.linear import linear


class TransformerLayer(nn.Module):
    """One post-norm Transformer layer over packed histories (eq. 6; Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query_key_value = linear(width, 3 * width)
        self.output = linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.inner = linear(width, inner)
        self.outer = linear(inner, width)
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
