"""The model's parameters under the paper's symbols, and random values for tests."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """One Transformer layer of eq. 6 (post-norm), width d, inner width f."""

    Wq: Array  # [d, d]
    bq: Array  # [d]
    Wk: Array  # [d, d]
    bk: Array  # [d]
    Wv: Array  # [d, d]
    bv: Array  # [d]
    Wo: Array  # [d, d]
    bo: Array  # [d]
    norm1_scale: Array  # [d]
    norm1_shift: Array  # [d]
    W_in: Array  # [d, f]
    b_in: Array  # [f]
    W_out: Array  # [f, d]
    b_out: Array  # [d]
    norm2_scale: Array  # [d]
    norm2_shift: Array  # [d]


@dataclass(frozen=True)
class Parameters:
    """All parameters of eq. 2-14. G experts, d_b text width, d width, N positions, C capsules."""

    W1: Array  # [d_b, G]   eq. 3
    b1: Array  # [G]
    W2: Array  # [G, d_b, d]  eq. 4
    b2: Array  # [G, d_b]: subtracted from t, so as wide as t
    P: Array  # [N, d]  eq. 5; the last row belongs to the newest item
    norm0_scale: Array  # [d]: the LayerNorm of F0
    norm0_shift: Array  # [d]
    layers: tuple[Layer, ...]  # eq. 6
    heads: int
    A: Array  # [C, d]  eq. 7
    P_tilde: Array  # [N, d]  eq. 9
    W3: Array  # [d, d]
    b3: Array  # [d]
    W4: Array  # [d]: one number per item, so a column
    b4: float
    W5: Array  # [d, d]  eq. 10
    b5: Array  # [d]
    norm5_scale: Array  # [d]
    norm5_shift: Array  # [d]


def random_parameters(
    rng: np.random.Generator,
    *,
    text_width: int = 7,
    width: int = 6,
    experts: int = 3,
    positions: int = 5,
    layers: int = 2,
    heads: int = 2,
    inner: int = 8,
    capsules: int = 5,
    scale: float = 0.5,
) -> Parameters:
    """Parameters drawn from N(0, scale²), with the norms' scales around 1."""

    def draw(*shape: int) -> Array:
        return rng.normal(0.0, scale, shape)

    def around_one(*shape: int) -> Array:
        return 1.0 + rng.normal(0.0, 0.3, shape)

    d = width

    def layer() -> Layer:
        return Layer(
            Wq=draw(d, d), bq=draw(d), Wk=draw(d, d), bk=draw(d),
            Wv=draw(d, d), bv=draw(d), Wo=draw(d, d), bo=draw(d),
            norm1_scale=around_one(d), norm1_shift=draw(d),
            W_in=draw(d, inner), b_in=draw(inner), W_out=draw(inner, d), b_out=draw(d),
            norm2_scale=around_one(d), norm2_shift=draw(d),
        )  # fmt: skip

    return Parameters(
        W1=draw(text_width, experts), b1=draw(experts),
        W2=draw(experts, text_width, d), b2=draw(experts, text_width),
        P=draw(positions, d), norm0_scale=around_one(d), norm0_shift=draw(d),
        layers=tuple(layer() for _ in range(layers)), heads=heads,
        A=draw(capsules, d), P_tilde=draw(positions, d),
        W3=draw(d, d), b3=draw(d), W4=draw(d), b4=float(draw()),
        W5=draw(d, d), b5=draw(d), norm5_scale=around_one(d), norm5_shift=draw(d),
    )  # fmt: skip


def check_finite(parameters: Any) -> None:
    """Raise if any array of a parameter dataclass holds NaN or infinity."""
    for field in fields(parameters):
        value = getattr(parameters, field.name)
        if isinstance(value, tuple):
            for part in value:
                check_finite(part)
        elif not is_dataclass(value) and not np.all(np.isfinite(value)):
            raise ValueError(f"{field.name} is not finite")
