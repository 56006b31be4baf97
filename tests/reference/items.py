"""Eq. 2-6: from text vectors to contextualised items."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tests.reference.basics import gelu, layer_norm, softmax

if TYPE_CHECKING:
    from tests.reference.parameters import Array, Layer, Parameters


def eq3_gate(t: Array, W1: Array, b1: Array, noise: Array | None = None) -> Array:
    """Gate weights [G] of one text vector [d_b]; `noise` [G] is added to the logits."""
    logits = t @ W1 + b1
    if noise is not None:
        logits = logits + noise
    return softmax(logits)


def eq4_expert(t: Array, b2_k: Array, W2_k: Array) -> Array:
    """Expert k's output [d] for one text vector [d_b]."""
    return (t - b2_k) @ W2_k


def eq2_adaptor(t: Array, p: Parameters, noise: Array | None = None) -> Array:
    """x [d]: the experts' outputs, weighted by the gate."""
    g = eq3_gate(t, p.W1, p.b1, noise)
    x = np.zeros(p.W2.shape[2])
    for k in range(len(g)):
        x = x + g[k] * eq4_expert(t, p.b2[k], p.W2[k])
    return x


def position_of(i: int, length: int, positions: int) -> int:
    """The position row of item i of a history: the newest item always has the last row."""
    return positions - length + i


def eq5_input(xs: list[Array], p: Parameters) -> list[Array]:
    """F0, one row per item: x_i + P, then LayerNorm."""
    rows = []
    for i, x in enumerate(xs):
        row = x + p.P[position_of(i, len(xs), len(p.P))]
        rows.append(layer_norm(row, p.norm0_scale, p.norm0_shift))
    return rows


def attention(rows: list[Array], layer: Layer, heads: int) -> list[Array]:
    """MHA: every item attends to all items of its history, in both directions."""
    d = len(rows[0])
    width = d // heads
    queries = [row @ layer.Wq + layer.bq for row in rows]
    keys = [row @ layer.Wk + layer.bk for row in rows]
    values = [row @ layer.Wv + layer.bv for row in rows]
    out = []
    for query in queries:
        joined = np.zeros(d)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            logits = np.array([query[part] @ key[part] / math.sqrt(width) for key in keys])
            weights = softmax(logits)
            for weight, value in zip(weights, values, strict=True):
                joined[part] += weight * value[part]
        out.append(joined @ layer.Wo + layer.bo)
    return out


def feed_forward(row: Array, layer: Layer) -> Array:
    """FFN of one item: GELU between two linear maps."""
    return gelu(row @ layer.W_in + layer.b_in) @ layer.W_out + layer.b_out


def eq6_layer(rows: list[Array], layer: Layer, heads: int) -> list[Array]:
    """One post-norm layer: LayerNorm(x + MHA(x)), then LayerNorm(x + FFN(x))."""
    mixed = attention(rows, layer, heads)
    out = []
    for row, mix in zip(rows, mixed, strict=True):
        middle = layer_norm(row + mix, layer.norm1_scale, layer.norm1_shift)
        inner = feed_forward(middle, layer)
        out.append(layer_norm(middle + inner, layer.norm2_scale, layer.norm2_shift))
    return out


def eq5_6_context(xs: list[Array], p: Parameters) -> list[Array]:
    """H: the contextualised items h_1..h_n of one history x_1..x_n."""
    rows = eq5_input(xs, p)
    for layer in p.layers:
        rows = eq6_layer(rows, layer, p.heads)
    return rows
