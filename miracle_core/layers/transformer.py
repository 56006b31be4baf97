"""A Transformer layer over packed histories (Vaswani et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.attention import newest_attention, packed_attention
from miracle_core.layers.dropout import add_dropout
from miracle_core.layers.linear import linear


class TransformerLayer(nn.Module):
    """One Transformer layer over packed histories (eq. 6; Vaswani et al. 2017).

    Args:
        width: d.
        heads: attention heads.
        inner: width inside the feed-forward network.
        dropout: of attention weights, and of what each half adds.
        eps: of the norms.
        causal: items see themselves and older ones only.
        pre_norm: each half reads a normed input and adds to the input as it was, x + f(norm(x)),
            instead of norm(x + f(x)).
        activation: inside the feed-forward network.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        dropout: float,
        eps: float,
        *,
        causal: bool = False,
        pre_norm: bool = False,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.causal = causal
        self.pre_norm = pre_norm
        self.activation = activation
        self.query_key_value = linear(width, 3 * width)
        self.output = linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.inner = linear(width, inner)
        self.outer = linear(inner, width)
        self.inner_norm = nn.LayerNorm(width, eps=eps)

    def forward(self, h: Tensor, packed: Packed) -> Tensor:
        """[tokens, d] to [tokens, d]; an item sees the items of its own history only."""
        if self.pre_norm:
            h = self._add(h, self._attended(self.attention_norm(h), packed))
            return self._add(h, self._fed(self.inner_norm(h)))
        h = self.attention_norm(self._add(h, self._attended(h, packed)))
        normed: Tensor = self.inner_norm(self._add(h, self._fed(h)))
        return normed

    def newest(self, h: Tensor, packed: Packed) -> Tensor:
        """What :meth:`forward` gives for each history's newest item, without dropout.

        For the other items only keys and values are computed. In the last layer nothing else of
        them is needed.

        Args:
            h: [tokens, d].
            packed: the histories.

        Returns:
            [histories, d].
        """
        last = packed.last_tokens()
        read = self.attention_norm(h) if self.pre_norm else h
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        d = h.shape[1]
        query = F.linear(F.embedding(last, read), weight[:d], bias[:d])
        key_value = F.linear(read, weight[d:], bias[d:])
        mixed: Tensor = self.output(newest_attention(query, key_value, packed, self.heads))
        own = F.embedding(last, h)
        if self.pre_norm:
            own = own + mixed
            return own + self._fed(self.inner_norm(own))
        own = self.attention_norm(own + mixed)
        normed: Tensor = self.inner_norm(own + self._fed(own))
        return normed

    def _attended(self, h: Tensor, packed: Packed) -> Tensor:
        attended = packed_attention(
            self.query_key_value(h),
            packed,
            self.heads,
            self.dropout,
            self.training,
            causal=self.causal,
        )
        mixed: Tensor = self.output(attended)
        return mixed

    def _fed(self, h: Tensor) -> Tensor:
        fed: Tensor = self.outer(self.activation(self.inner(h)))
        return fed

    def _add(self, h: Tensor, more: Tensor) -> Tensor:
        return add_dropout(h, more, self.dropout, self.training)


def newest_of(layers: nn.ModuleList, h: Tensor, packed: Packed) -> Tensor:
    """The last layer's state of each history's newest item, without dropout.

    Args:
        layers: :class:`TransformerLayer`, from the first to the last.
        h: [tokens, d], what the first one reads.
        packed: the histories.

    Returns:
        [histories, d].

    Raises:
        TypeError: the last layer is no :class:`TransformerLayer`.
    """
    if not len(layers):
        return F.embedding(packed.last_tokens(), h)
    for layer in layers[:-1]:
        h = layer(h, packed)
    last = layers[-1]
    if not isinstance(last, TransformerLayer):
        raise TypeError(f"{type(last).__name__} has no newest")
    return last.newest(h, packed)
