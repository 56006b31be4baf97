"""SASRec and GRU4Rec for one history at a time, written from their papers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tests.reference.basics import gelu, layer_norm, softmax

if TYPE_CHECKING:
    from tests.reference.parameters import Array, Layer


def causal_attention(queries: Array, keys: Array, values: Array, heads: int) -> Array:
    """Kang and McAuley, eq. 2-3: query i sees keys j <= i; heads are parts of the columns."""
    n, d = queries.shape
    width = d // heads
    out = np.zeros((n, d))
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        for i in range(n):
            seen = range(i + 1)
            logits = np.array([queries[i, own] @ keys[j, own] / math.sqrt(width) for j in seen])
            for j, weight in zip(seen, softmax(logits), strict=True):
                out[i, own] += weight * values[j, own]
    return out


def self_attention(rows: list[Array], p: Layer, heads: int) -> list[Array]:
    """Every item attends to itself and older ones; then comes the output's linear layer."""
    queries = np.array([row @ p.Wq + p.bq for row in rows])
    keys = np.array([row @ p.Wk + p.bk for row in rows])
    values = np.array([row @ p.Wv + p.bv for row in rows])
    return [row @ p.Wo + p.bo for row in causal_attention(queries, keys, values, heads)]


def feed_forward(row: Array, p: Layer, activation: str) -> Array:
    """Eq. 4, position-wise."""
    inner = row @ p.W_in + p.b_in
    inner = gelu(inner) if activation == "gelu" else np.array([max(x, 0.0) for x in inner])
    return inner @ p.W_out + p.b_out


def sasrec_block(
    rows: list[Array], p: Layer, heads: int, norm: str, activation: str
) -> list[Array]:
    """Section III-D: ``pre`` is x + g(LayerNorm(x)) as printed, ``post`` LayerNorm(x + g(x))."""
    out = []
    if norm == "pre":
        normed = [layer_norm(row, p.norm1_scale, p.norm1_shift) for row in rows]
        for row, more in zip(rows, self_attention(normed, p, heads), strict=True):
            half = row + more
            again = layer_norm(half, p.norm2_scale, p.norm2_shift)
            out.append(half + feed_forward(again, p, activation))
        return out
    for row, more in zip(rows, self_attention(rows, p, heads), strict=True):
        half = layer_norm(row + more, p.norm1_scale, p.norm1_shift)
        whole = half + feed_forward(half, p, activation)
        out.append(layer_norm(whole, p.norm2_scale, p.norm2_shift))
    return out


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def gru(xs: list[Array], weights: dict[str, Array]) -> list[Array]:
    """Hidasi et al., eq. 1-4, with the reset gate after U as PyTorch has it.

    Args:
        xs: the inputs, oldest first.
        weights: Wz, Wr, W [h, d] of the input and Uz, Ur, U [h, h] of the state.

    Returns:
        The state after each input; the initial state is zero.
    """
    h = np.zeros(len(weights["U"]))
    states = []
    for x in xs:
        z = sigmoid(weights["Wz"] @ x + weights["Uz"] @ h)
        r = sigmoid(weights["Wr"] @ x + weights["Ur"] @ h)
        candidate = np.tanh(weights["W"] @ x + r * (weights["U"] @ h))
        h = z * h + (1.0 - z) * candidate
        states.append(h)
    return states


def vanilla_attention(vectors: list[Array], w: dict[str, Array]) -> Array:
    """Zhang et al.: features weighted by the softmax of w . relu(W a + b) + c, then summed."""
    logits = []
    for a in vectors:
        hidden = [max(float(row @ a + b), 0.0) for row, b in zip(w["W"], w["b"], strict=True)]
        logits.append(float(w["w"] @ np.array(hidden) + w["c"]))
    weighed = zip(softmax(np.array(logits)), vectors, strict=True)
    total: Array = sum((weight * a for weight, a in weighed), np.zeros(len(vectors[0])))
    return total
