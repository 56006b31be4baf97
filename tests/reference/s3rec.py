"""S3-Rec's objectives for one sequence at a time, written from its paper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.reference.parameters import Array


def agreement(x: Array, y: Array, W: Array, b: Array) -> float:
    """f(x, y) = sigmoid((W x + b) . y)."""
    return 1.0 / (1.0 + math.exp(-float((W @ x + b) @ y)))


def told_values(x: Array, values: Array, have: set[int], W: Array, b: Array) -> float:
    """AAP and MAP of one item: a binary cross-entropy over all attribute values."""
    loss = 0.0
    for number, value in enumerate(values):
        f = agreement(x, value, W, b)
        loss -= math.log(f) if number in have else math.log(1.0 - f)
    return loss


def rather(x: Array, own: Array, other: Array, W: Array, b: Array) -> float:
    """MIP and SP of one pair: f is contrasted with one negative item or segment.

    log of exp(f(x, own)) / (exp(f(x, own)) + exp(f(x, other))).
    """
    mine, theirs = agreement(x, own, W, b), agreement(x, other, W, b)
    return -math.log(math.exp(mine) / (math.exp(mine) + math.exp(theirs)))
