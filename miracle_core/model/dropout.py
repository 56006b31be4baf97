"""Dropout whose random numbers cost little on a CPU.

PyTorch draws one Bernoulli variable an element, which on a CPU takes longer than the layers around
it. Four 16-bit numbers come from each 64-bit one here, from the same generator, so seeding and
checkpoints work as ever.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

LEVELS = 1 << 16


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Zero a share of x's elements at random and scale the rest by 1 / (1 - share).

    On a CPU the share is rounded to a multiple of 2^-16 (and the scale with it).

    Args:
        x: any shape.
        share: of elements zeroed, from 0 to below 1.
        training: without it, x is returned as it is.
    """
    if not training or share == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    dropped: Tensor = _Dropout.apply(x, round(share * LEVELS))  # type: ignore[no-untyped-call]
    return dropped


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: int) -> Tensor:
        n = x.numel()
        words = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[:n].view(x.shape)
        kept = bits >= threshold - LEVELS // 2
        ctx.save_for_backward(kept)
        ctx.scale = LEVELS / (LEVELS - threshold)
        return _masked(x, kept, ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _masked(gradient, kept, ctx.scale), None


def _masked(x: Tensor, kept: Tensor, scale: float) -> Tensor:
    """The kept elements, scaled; 0 in place of the others.

    The mask's bytes are turned into x's type at once: mixed types multiply slowly on a CPU.
    """
    return kept.view(torch.uint8).to(x.dtype).mul_(x).mul_(scale)
