"""UniSRec for one item or history at a time, from its paper (Hou et al. 2022, section 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tests.reference.basics import layer_norm, log_sum_exp, softmax
from tests.reference.sequences import sasrec_block

if TYPE_CHECKING:
    from tests.reference.parameters import Array, Layer


@dataclass(frozen=True)
class UniSRecParameters:
    """UniSRec's parameters: G experts, d_b text width, d width, N positions."""

    b: Array  # [G, d_b], subtracted by each whitening
    W: Array  # [G, d_b, d]
    W_gate: Array  # [d_b, G]
    W_noise: Array  # [d_b, G]
    places: Array  # [N, d]; the last row belongs to the newest item
    norm_scale: Array  # [d], for the input
    norm_shift: Array  # [d]
    layers: tuple[Layer, ...]
    heads: int


def whitened(x: Array, b: Array, W: Array) -> Array:
    """Parametric whitening of one text vector."""
    return (x - b) @ W


def item(x: Array, p: UniSRecParameters, noise: Array | None = None) -> Array:
    """V of one text vector; `noise` [G] is standard normal, and drawn in training only."""
    logits = x @ p.W_gate
    if noise is not None:
        for k in range(len(logits)):
            spread = math.log1p(math.exp(float(x @ p.W_noise[:, k]))) + 0.01
            logits[k] += noise[k] * spread
    g = softmax(logits)
    v = np.zeros(p.W.shape[2])
    for k, weight in enumerate(g):
        v = v + weight * whitened(x, p.b[k], p.W[k])
    return v


def sequence(vs: list[Array], p: UniSRecParameters) -> Array:
    """S of one history, oldest item first: the newest item's state, normalised."""
    n = len(p.places)
    rows = [
        layer_norm(v + p.places[n - len(vs) + i], p.norm_scale, p.norm_shift)
        for i, v in enumerate(vs)
    ]
    for layer in p.layers:
        rows = sasrec_block(rows, layer, p.heads, "post", "gelu")
    return unit(rows[-1])


def unit(vector: Array) -> Array:
    """A vector's direction."""
    found: Array = vector / math.sqrt(float(vector @ vector))
    return found


def contrast(
    rows: list[Array], others: list[Array], targets: list[int], temperature: float
) -> float:
    """The mean of -log exp(r_j . o_j / tau) / sum_j' exp(r_j . o_j' / tau).

    j' runs over j itself and all examples whose next item differs from j's.
    """
    total = 0.0
    for j, row in enumerate(rows):
        rivals = [
            float(row @ others[k]) / temperature
            for k in range(len(rows))
            if k == j or targets[k] != targets[j]
        ]
        total += log_sum_exp(rivals) - float(row @ others[j]) / temperature
    return total / len(rows)
