"""Dropout whose random numbers cost little on a CPU.

PyTorch draws one Bernoulli variable an element, which on a CPU takes longer than the layers around
it. Four 16-bit numbers come from each 64-bit one here, from the same generator, so seeding and
checkpoints work as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LEVELS = 1 << 16


@dataclass(frozen=True)
class Mask:
    """Which elements a dropout keeps, and what they are scaled with.

    Attributes:
        tensors: the mask, bool of the elements' shape; empty where nothing is dropped.
        scale: 1 / (1 - share).
    """

    tensors: tuple[Tensor, ...]
    scale: float

    @classmethod
    def draw(cls, like: Tensor, share: float) -> Mask:
        """A mask for a tensor's shape; the share is rounded to a multiple of 2^-16."""
        threshold = _threshold(share)
        if threshold == 0:
            return cls((), 1.0)
        n = like.numel()
        words = torch.empty(-(-n // 4), dtype=torch.int64, device=like.device)
        bits = words.random_(-(2**63), None).view(torch.int16)[:n].view(like.shape)
        return cls.saved((bits >= threshold - LEVELS // 2,), share)

    @classmethod
    def saved(cls, tensors: Sequence[Tensor], share: float) -> Mask:
        """The mask that :meth:`draw` gave, from its tensors."""
        return cls(tuple(tensors), LEVELS / (LEVELS - _threshold(share)))

    def apply(self, x: Tensor) -> Tensor:
        """The kept elements, scaled, and 0 in place of the others (x itself if all are kept)."""
        if not self.tensors:
            return x
        return self._numbers(x).mul_(x).mul_(self.scale)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Y + apply(x), in one pass."""
        if not self.tensors:
            return x + y
        return torch.addcmul(y, x, self._numbers(x), value=self.scale)

    def _numbers(self, x: Tensor) -> Tensor:
        """The mask in x's type: tensors of mixed types multiply slowly on a CPU."""
        return self.tensors[0].view(torch.uint8).to(x.dtype)


def _threshold(share: float) -> int:
    return min(round(share * LEVELS), LEVELS - 1)


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Zero a share of x's elements at random and scale the rest by 1 / (1 - share).

    The share is rounded to a multiple of 2^-16 (and the scale with it).

    Args:
        x: any shape.
        share: of elements zeroed, from 0 to below 1.
        training: without it, x is returned as it is.
    """
    if not training or share == 0.0:
        return x
    dropped: Tensor = _Dropout.apply(x, share)  # type: ignore[no-untyped-call]
    return dropped


def add_dropout(y: Tensor, x: Tensor, share: float, training: bool) -> Tensor:
    """Y + dropout(x): a residual connection in one pass.

    Args:
        y: any shape.
        x: of the same shape.
        share: of x's elements zeroed, from 0 to below 1.
        training: without it, nothing is dropped.
    """
    if not training or share == 0.0:
        return y + x
    added: Tensor = _AddDropout.apply(y, x, share)  # type: ignore[no-untyped-call]
    return added


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        mask = Mask.draw(x, share)
        ctx.save_for_backward(*mask.tensors)
        ctx.share = share
        return mask.apply(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return Mask.saved(ctx.saved_tensors, ctx.share).apply(gradient), None


class _AddDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, share: float) -> Tensor:
        mask = Mask.draw(x, share)
        ctx.save_for_backward(*mask.tensors)
        ctx.share = share
        return mask.add(x, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        return gradient, Mask.saved(ctx.saved_tensors, ctx.share).apply(gradient), None
