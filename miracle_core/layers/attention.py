"""Self-attention inside histories (the MHA of eq. 6), forward and backward in one place.

Groups of equally long histories are computed one after another, straight from the packed queries,
keys and values and into the packed result, without splitting or joining tensors. A padded batch is
one group, in which padding is hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from miracle_core.data.packed import Packed
from miracle_core.layers.dropout import Mask

Groups = tuple[tuple[int, int], ...]


def packed_attention(
    query_key_value: Tensor,
    packed: Packed,
    heads: int,
    dropout: float,
    training: bool,
    *,
    causal: bool = False,
) -> Tensor:
    """softmax(Q K^T / sqrt(d / heads)) V for each head, inside each history.

    Args:
        query_key_value: [tokens, 3 d], each token's query, key and value, heads side by side.
        packed: the histories that they lie in.
        heads: attention heads.
        dropout: share of attention weights dropped in training.
        training: whether to drop any.
        causal: items see themselves and older ones only, not the whole history.

    Returns:
        [tokens, d]; the values at padding are finite and mean nothing.
    """
    share = dropout if training else 0.0
    hidden = None if packed.valid is None else _hidden(packed, packed.valid, causal)
    attended: Tensor = _PackedAttention.apply(  # type: ignore[no-untyped-call]
        query_key_value, packed.groups, heads, share, causal, hidden
    )
    return attended


def newest_attention(query: Tensor, key_value: Tensor, packed: Packed, heads: int) -> Tensor:
    """What :func:`packed_attention` gives for each history's newest item, without dropout.

    The newest item sees the whole history, causal or not. With one query a history, elementwise
    products over the keys and values are faster than matrix products of one row.

    Args:
        query: [histories, d], the newest items'.
        key_value: [tokens, 2 d], each token's key and value, heads side by side.
        packed: the histories.
        heads: attention heads.

    Returns:
        [histories, d].
    """
    width = query.shape[1] // heads
    query = query * (1.0 / math.sqrt(width))
    attended = []
    token = history = 0
    for n, count in packed.groups:
        rows = slice(token, token + n * count)
        own = query[history : history + count].view(count, 1, heads, width)
        key, value = key_value[rows].view(count, n, 2, heads, width).unbind(2)
        logits = (key * own).sum(3)
        if packed.valid is not None:
            logits = logits.masked_fill(packed.off(1)[rows].view(count, n, 1), -torch.inf)
        weights = torch.softmax(logits, 1)
        attended.append((weights.unsqueeze(3) * value).sum(1).view(count, -1))
        token, history = rows.stop, history + count
    return torch.cat(attended)


def _hidden(packed: Packed, valid: Tensor, causal: bool) -> Tensor:
    """Which keys each query of a padded history does not see, bool [histories, N, N].

    Each token sees itself, padding too: the softmax over nothing is NaN.
    """
    ((n, count),) = packed.groups
    hidden = valid.logical_not().view(count, 1, n).expand(-1, n, -1)
    if causal:
        hidden = hidden | torch.ones(n, n, dtype=torch.bool, device=valid.device).triu(1)
    return hidden & ~torch.eye(n, dtype=torch.bool, device=valid.device)


def _parts(groups: Groups, heads: int) -> Iterator[tuple[int, int, slice, slice]]:
    """Each group's length and number of histories; its slices of all tokens and of all weights."""
    token = weight = 0
    for length, count in groups:
        tokens, weights = length * count, heads * count * length * length
        yield length, count, slice(token, token + tokens), slice(weight, weight + weights)
        token, weight = token + tokens, weight + weights


def _by_head(x: Tensor, rows: slice, histories: int, heads: int) -> tuple[Tensor, ...]:
    """A group's rows of ``x`` cut into heads: a view [histories, length, width / heads] for each.

    One call makes all views: a view taken by an index costs as much as a small product.

    Args:
        x: [tokens, width].
        rows: the group's tokens.
        histories: how many histories the group has.
        heads: into how many views the columns are cut.
    """
    parts: tuple[Tensor, ...] = x[rows].view(histories, -1, heads, x.shape[1] // heads).unbind(2)
    return parts


def _hide_later(scores: Tensor, groups: Groups, heads: int) -> None:
    """Set the scores of later keys to -inf, in place, so that their weights and gradients are 0.

    Args:
        scores: the scores of all groups, flat.
        groups: (length, histories) of each run of equally long histories.
        heads: attention heads.
    """
    for n, _, _, places in _parts(groups, heads):
        later = torch.ones(n, n, dtype=torch.bool, device=scores.device).triu(1)
        scores[places].view(-1, n, n).masked_fill_(later, -torch.inf)


class _PackedAttention(torch.autograd.Function):
    """:func:`packed_attention` and its gradient.

    One flat array holds the weights of all groups, those of a group as
    [heads, histories, length, length].
    """

    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        groups: Groups,
        heads: int,
        share: float,
        causal: bool,
        hidden: Tensor | None,
    ) -> Tensor:
        tokens, width = qkv.shape[0], qkv.shape[1] // 3
        scores = qkv.new_empty(sum(heads * b * n * n for n, b in groups))
        for n, b, rows, places in _parts(groups, heads):
            q_k_v = _by_head(qkv, rows, b, 3 * heads)
            logits = scores[places].view(heads, b, n, n).unbind()
            for head in range(heads):
                torch.bmm(q_k_v[head], q_k_v[heads + head].transpose(1, 2), out=logits[head])
        scores.mul_(1.0 / math.sqrt(width // heads))
        if hidden is not None:
            scores.view(heads, *hidden.shape).masked_fill_(hidden, -torch.inf)
        elif causal:
            _hide_later(scores, groups, heads)
        weights = torch.empty_like(scores)
        for n, b, _, places in _parts(groups, heads):
            shape = (heads * b * n, n)
            torch.softmax(scores[places].view(shape), 1, out=weights[places].view(shape))
        mask = Mask.draw(weights, share)
        used = mask.apply(weights)
        attended = qkv.new_empty(tokens, width)
        for n, b, rows, places in _parts(groups, heads):
            v = _by_head(qkv, rows, b, 3 * heads)[2 * heads :]
            out = _by_head(attended, rows, b, heads)
            a = used[places].view(heads, b, n, n).unbind()
            for head in range(heads):
                out[head].copy_(torch.bmm(a[head], v[head]))
        ctx.save_for_backward(qkv, weights, used, *mask.tensors)
        ctx.groups, ctx.heads, ctx.share = groups, heads, share
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        qkv, weights, used, *kept = ctx.saved_tensors
        heads = ctx.heads
        d_qkv = torch.empty_like(qkv)
        d_used = torch.empty_like(used)
        gradient = gradient.contiguous()
        for n, b, rows, places in _parts(ctx.groups, heads):
            v = _by_head(qkv, rows, b, 3 * heads)[2 * heads :]
            d_v = _by_head(d_qkv, rows, b, 3 * heads)[2 * heads :]
            d_out = _by_head(gradient, rows, b, heads)
            a, d_a = (t[places].view(heads, b, n, n).unbind() for t in (used, d_used))
            for head in range(heads):
                d_v[head].copy_(torch.bmm(a[head].transpose(1, 2), d_out[head]))
                torch.bmm(d_out[head], v[head].transpose(1, 2), out=d_a[head])
        d_weights = Mask.saved(kept, ctx.share).apply(d_used)
        # The softmax's gradient: a (da - sum a da), over each row of weights.
        d_weights.mul_(weights)
        for n, _, _, places in _parts(ctx.groups, heads):
            rows_of = d_weights[places].view(-1, n)
            rows_of.addcmul_(weights[places].view(-1, n), rows_of.sum(1, keepdim=True), value=-1)
        d_weights.mul_(1.0 / math.sqrt(qkv.shape[1] // 3 // heads))
        for n, b, rows, places in _parts(ctx.groups, heads):
            q_k_v = _by_head(qkv, rows, b, 3 * heads)
            d_q_k_v = _by_head(d_qkv, rows, b, 3 * heads)
            d_logits = d_weights[places].view(heads, b, n, n).unbind()
            for head in range(heads):
                q, k = q_k_v[head], q_k_v[heads + head]
                d_q_k_v[head].copy_(torch.bmm(d_logits[head], k))
                d_q_k_v[heads + head].copy_(torch.bmm(d_logits[head].transpose(1, 2), q))
        return d_qkv, None, None, None, None, None
