"""Vectors made longer or shorter: directions (cosine scores) and squash (eq. 13).

Both multiply a row by a number that depends on its length alone, so one formula gives their
gradient in two passes and a dot product; left to autograd each takes a dozen passes over vectors
that don't fit a cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

# From lengths [rows, 1] to what rows are multiplied with, f, and f' / length.
Factor = Callable[[Tensor], tuple[Tensor, Tensor]]
# Shorter vectors are divided by this, as torch's normalize does.
SHORTEST = 1e-12
ROWS = 512


def directions(x: Tensor) -> Tensor:
    """Rows of length 1: x / max(||x||, 1e-12), [rows, d] to [rows, d]. A row of zeros stays one."""
    y: Tensor = _Radial.apply(x, _one_over_length)  # type: ignore[no-untyped-call]
    return y


def squash(z: Tensor) -> Tensor:
    """Squash: u = ||z||^2 / (||z||^2 + 1) z / ||z|| (eq. 13), with no division by ||z||.

    At z = 0 both the value and the gradient are 0. [rows, d] to [rows, d].
    """
    u: Tensor = _Radial.apply(z, _squash_factor)  # type: ignore[no-untyped-call]
    return u


def rows_and_directions(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Some rows as they are, and the directions of all: ``F.embedding(rows, x), directions(x)``.

    One gradient instead of two that are filled up and added.

    Args:
        x: [n, d].
        rows: int64 [taken], may repeat.

    Returns:
        [taken, d] and [n, d].
    """
    both: tuple[Tensor, Tensor] = _RowsAndDirections.apply(  # type: ignore[no-untyped-call]
        x, rows
    )
    return both


def _one_over_length(length: Tensor) -> tuple[Tensor, Tensor]:
    factor = length.clamp_min(SHORTEST).reciprocal_()
    return factor, torch.where(length < SHORTEST, 0.0, -(factor**3))


def _squash_factor(length: Tensor) -> tuple[Tensor, Tensor]:
    square = length * length
    # Of a length of 0 the gradient is 0 whatever it is divided by.
    slope = (1 - square) / (square + 1) ** 2 / length.clamp_min(torch.finfo(length.dtype).tiny)
    return length / (square + 1), slope


def _forward(ctx: Any, x: Tensor, factor_of: Factor, *more: Tensor) -> Tensor:
    factor, slope = factor_of(torch.linalg.vector_norm(x, dim=-1, keepdim=True))
    ctx.save_for_backward(x, factor, slope, *more)
    return x * factor


def _gradient(x: Tensor, factor: Tensor, slope: Tensor, dy: Tensor) -> Tensor:
    """Of y = f(||x||) x: f dy + (f' / ||x||) <x, dy> x."""
    dx = torch.empty_like(dy)
    # Some rows at a time, so that the second and third look find them in the cache.
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        own, given, to = x[rows], dy[rows], dx[rows]
        along = torch.mul(own, given, out=to).sum(1, keepdim=True)
        torch.mul(given, factor[rows], out=to).addcmul_(own, along.mul_(slope[rows]))
    return dx


class _Radial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor_of: Factor) -> Tensor:
        return _forward(ctx, x, factor_of)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        x, factor, slope = ctx.saved_tensors
        return _gradient(x, factor, slope, dy), None


class _RowsAndDirections(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return F.embedding(rows, x), _forward(ctx, x, _one_over_length, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_taken: Tensor, dy: Tensor) -> tuple[Tensor, None]:
        x, factor, slope, rows = ctx.saved_tensors
        dx = _gradient(x, factor, slope, dy)
        # Each in the form that adds up in a fixed order on its device.
        if dx.is_cpu:
            dx.index_add_(0, rows, d_taken)
        else:
            dx.index_put_((rows,), d_taken, accumulate=True)
        return dx, None
