"""Eq. 5-14 on a history padded to N positions, to show that the padding's content never matters.

The layout is left-padded: the newest item is at the last position, so position i uses row i of P
and of P~. `mask` [N] is True where there is an item. Padding is excluded at three points: as a key
of the attention, in the position softmax, and in the choice of capsules.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tests.reference.basics import gelu, layer_norm, softmax
from tests.reference.capsules import eq13_squash

if TYPE_CHECKING:
    from tests.reference.parameters import Array, Layer, Parameters

Mask = NDArray[np.bool_]


def pad(xs: list[Array], positions: int, filler: Array) -> tuple[Array, Mask]:
    """A history as [N, d] with `filler` [N, d] as the padding, and its mask [N]."""
    rows, mask = filler.copy(), np.zeros(positions, dtype=bool)
    rows[positions - len(xs) :] = xs
    mask[positions - len(xs) :] = True
    return rows, mask


def masked_softmax(values: Array, mask: Mask) -> Array:
    """Softmax over the positions where mask is True; exactly 0 elsewhere."""
    return softmax(np.where(mask, values, -math.inf))


def padded_layer(rows: Array, mask: Mask, layer: Layer, heads: int) -> Array:
    """One post-norm layer over [N, d]. Padding is no key; its own output is meaningless."""
    d = rows.shape[1]
    query, key, value = (
        rows @ layer.Wq + layer.bq,
        rows @ layer.Wk + layer.bk,
        rows @ layer.Wv + layer.bv,
    )
    joined = np.zeros_like(rows)
    for head in range(heads):
        part = slice(head * d // heads, (head + 1) * d // heads)
        logits = query[:, part] @ key[:, part].T / math.sqrt(d // heads)
        weights = np.array([masked_softmax(row, mask) for row in logits])
        joined[:, part] = weights @ value[:, part]
    mixed = rows + joined @ layer.Wo + layer.bo
    middle = np.array([layer_norm(row, layer.norm1_scale, layer.norm1_shift) for row in mixed])
    inner = np.array([gelu(row) for row in middle @ layer.W_in + layer.b_in])
    outer = middle + inner @ layer.W_out + layer.b_out
    return np.array([layer_norm(row, layer.norm2_scale, layer.norm2_shift) for row in outer])


def padded_context(rows: Array, mask: Mask, p: Parameters) -> Array:
    """H [N, d] of eq. 5-6; only rows where mask is True mean anything."""
    rows = np.array([layer_norm(row, p.norm0_scale, p.norm0_shift) for row in rows + p.P])
    for layer in p.layers:
        rows = padded_layer(rows, mask, layer, p.heads)
    return rows


def padded_interests(
    H: Array, mask: Mask, p: Parameters, *, tau: int = 3, agreement: Literal["h", "q"] = "h"
) -> tuple[Array, Mask]:
    """All C capsules [C, d] and which are active [C], from H [N, d] (eq. 7-14)."""
    s = H @ p.A.T
    active = np.zeros(len(p.A), dtype=bool)
    for i in np.flatnonzero(mask):
        active[int(np.argmax(s[i]))] = True
    o = masked_softmax(np.tanh((H + p.P_tilde) @ p.W3 + p.b3) @ p.W4 + p.b4, mask)
    q = np.array(
        [layer_norm(r, p.norm5_scale, p.norm5_shift) for r in np.tanh(H @ p.W5 + p.b5) + H]
    )
    b, u = s, np.zeros_like(p.A)
    for _ in range(tau):
        c = np.array([masked_softmax(row, active) for row in b])
        z = np.einsum("ij,i,id->jd", c, o, q)
        u = np.array([eq13_squash(row) for row in z])
        b = b + (H if agreement == "h" else q) @ u.T
    return u, active
