"""Vectors made longer or shorter: directions (cosine scores) and squash (eq. 13).

Both multiply a row by a number that depends on its length alone. So one formula gives their
gradient in two passes and a dot product. Autograd would take a dozen passes over vectors that don't
fit in a cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from miracle_core.launches import at_once

# Shorter vectors are divided by this, as torch's normalize does.
SHORTEST = 1e-12
ROWS = 512


def directions(x: Tensor) -> Tensor:
    """Rows of length 1: x / max(||x||, 1e-12), [rows, d] to [rows, d]. A row of zeros stays one."""
    y: Tensor = _Directions.apply(x)  # type: ignore[no-untyped-call]
    return y


def squash(z: Tensor) -> Tensor:
    """Squash: u = ||z||^2 / (||z||^2 + 1) z / ||z|| (eq. 13), with no division by ||z||.

    At z = 0 both the value and the gradient are 0. [rows, d] to [rows, d].
    """
    u: Tensor = _Squash.apply(z)  # type: ignore[no-untyped-call]
    return u


def rows_and_directions(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Some rows as they are, and the directions of all: ``F.embedding(rows, x), directions(x)``.

    Autograd would fill up two gradients of the size of x and add them; here there is one.

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


def _lengths(x: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return lengths


def _gradient(v: Tensor, factor: Tensor, slope: Tensor, dy: Tensor) -> Tensor:
    """The gradient factor dy + slope <v, dy> v, factor and slope [rows, 1]."""
    dx = torch.empty_like(dy)
    # In blocks of rows, so that the second and third pass find them in the cache.
    step = max(len(v), 1) if at_once(v) else ROWS
    for start in range(0, len(v), step):
        rows = slice(start, start + step)
        own, given, to = v[rows], dy[rows], dx[rows]
        along = torch.mul(own, given, out=to).sum(1, keepdim=True)
        torch.mul(given, factor[rows], out=to).addcmul_(own, along.mul_(slope[rows]))
    return dx


def _directions(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Directions y, and what their gradient is made of: dx = (dy - <y, dy> y) / ||x||.

    The gradient needs y but not x. For a large catalogue it matters that only one is kept.
    """
    length = _lengths(x)
    factor = length.clamp_min(SHORTEST).reciprocal_()
    # Rows that are too short for a division are only multiplied.
    return x * factor, factor, torch.where(length < SHORTEST, 0.0, -factor)


class _Radial(torch.autograd.Function):
    """A function whose gradient is :func:`_gradient` of what its forward pass keeps."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        v, factor, slope = ctx.saved_tensors
        return _gradient(v, factor, slope, dy)


class _Directions(_Radial):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y, factor, slope = _directions(x)
        ctx.save_for_backward(y, factor, slope)
        return y


class _Squash(_Radial):
    """u = f(||z||) z: dz = f du + (f' / ||z||) <z, du> z."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        length = _lengths(z)
        square = length * length
        factor = length / (square + 1)
        # At a length of 0 the gradient is 0, whatever the divisor.
        slope = (1 - square) / (square + 1) ** 2 / length.clamp_min(torch.finfo(z.dtype).tiny)
        ctx.save_for_backward(z, factor, slope)
        return z * factor


class _RowsAndDirections(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        y, factor, slope = _directions(x)
        ctx.save_for_backward(y, factor, slope, rows)
        return F.embedding(rows, x), y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_taken: Tensor, dy: Tensor) -> tuple[Tensor, None]:
        y, factor, slope, rows = ctx.saved_tensors
        dx = _gradient(y, factor, slope, dy)
        # Each device gets the form whose sums have a fixed order there.
        if dx.is_cpu:
            dx.index_add_(0, rows, d_taken)
        else:
            dx.index_put_((rows,), d_taken, accumulate=True)
        return dx, None
