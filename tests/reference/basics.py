"""Basic functions that the paper takes for granted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tests.reference.parameters import Array

LAYER_NORM_EPS = 1e-12


def softmax(values: Array) -> Array:
    """exp(v_i) / sum_k exp(v_k) over a vector; -inf gets exactly 0."""
    top = max(values)
    weights = np.array([math.exp(v - top) for v in values])
    total: float = weights.sum()
    return np.array([weight / total for weight in weights])


def log_sum_exp(values: list[float]) -> float:
    """Log of the sum of exponentials of a non-empty list."""
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def layer_norm(vector: Array, scale: Array, shift: Array) -> Array:
    """LayerNorm over a vector: population variance, eps 1e-12 under the root."""
    mean = vector.sum() / len(vector)
    variance = ((vector - mean) ** 2).sum() / len(vector)
    normed: Array = (vector - mean) / math.sqrt(variance + LAYER_NORM_EPS) * scale + shift
    return normed


def gelu(vector: Array) -> Array:
    """The exact GELU: x times the standard normal distribution function at x."""
    return np.array([x * 0.5 * (1.0 + math.erf(x / math.sqrt(2.0))) for x in vector])


def cosine(a: Array, b: Array) -> float:
    """cos(a, b); 0 where either vector is zero."""
    norms = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / norms if norms > 0.0 else 0.0
