"""Dropout whose random numbers cost little on a CPU.

PyTorch draws one Bernoulli variable an element, which on a CPU takes longer than the layers around
it. Here numpy draws 64-bit numbers, in half the time of torch's generator, and each gives four
16-bit ones. Torch's generator seeds numpy's, so seeding and checkpoints work as usual.

On a GPU torch draws and multiplies, in as few launches as possible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from miracle_core.launches import at_once

LEVELS = 1 << 16
# Elements of a part: few enough for a core's own cache, enough for two cores to share.
PART = 1 << 17


@dataclass(frozen=True)
class Mask:
    """Which elements a dropout keeps, and what they are scaled with.

    Attributes:
        tensors: one mask, bool of the elements' shape, or none if nothing is dropped.
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
        if not at_once(like):
            return cls.saved((_drawn_by_numpy(like, threshold - LEVELS // 2),), share)
        kept = torch.empty(like.shape, dtype=torch.bool, device=like.device)
        return cls.saved((kept.bernoulli_((LEVELS - threshold) / LEVELS),), share)

    @classmethod
    def saved(cls, tensors: Sequence[Tensor], share: float) -> Mask:
        """The mask that :meth:`draw` gave, from its tensors."""
        return cls(tuple(tensors), LEVELS / (LEVELS - _threshold(share)))

    def apply(self, x: Tensor) -> Tensor:
        """The kept elements, scaled, and 0 in place of the others (x itself if all are kept)."""
        if not self.tensors:
            return x
        if at_once(x):
            return _scaled(x, self.tensors[0], self.scale)
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        to, x = out.view(-1), x.reshape(-1)
        for part, numbers in self._parts(x):
            torch.mul(x[part], numbers.mul_(self.scale), out=to[part])
        return out

    def keep(self, x: Tensor) -> Tensor:
        """The kept elements, not scaled, and 0 in place of the others (x itself if all are)."""
        if not self.tensors:
            return x
        return self.tensors[0].view(torch.uint8).to(x.dtype).mul_(x)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Y + apply(x), in y's type (x may be of a lower precision)."""
        if not self.tensors:
            return x + y
        if at_once(x):
            return y + _scaled(x, self.tensors[0], self.scale)
        out = torch.empty_like(y, memory_format=torch.contiguous_format)
        to, x, y = out.view(-1), x.to(y.dtype).reshape(-1), y.reshape(-1)
        for part, numbers in self._parts(x):
            torch.addcmul(y[part], x[part], numbers, value=self.scale, out=to[part])
        return out

    def _parts(self, like: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Parts of the elements, one after another, each with the mask in the type of ``like``.

        Tensors of mixed types multiply slowly on a CPU, and a whole mask in that type would leave
        the cache before it is used.
        """
        mask = self.tensors[0].view(torch.uint8).view(-1)
        room = like.new_empty(min(PART, len(mask)))
        for start in range(0, len(mask), PART):
            part = slice(start, min(start + PART, len(mask)))
            yield part, room[: part.stop - start].copy_(mask[part])


def _drawn_by_numpy(like: Tensor, least: int) -> Tensor:
    """Draw a number from -2^15 to 2^15 - 1 for each element of ``like``; which are >= ``least``.

    Returns:
        bool [as ``like``].
    """
    n = like.numel()
    source = np.random.SFC64(int(torch.randint(2**63 - 1, ())))
    kept = np.empty(n, dtype=bool)
    # In parts, so that numbers are compared while they are in the cache. numpy compares them in the
    # processor's wide registers, and torch does not.
    for start in range(0, n, PART):
        part = kept[start : start + PART]
        bits = source.random_raw(-(-len(part) // 4)).view(np.int16)[: len(part)]
        np.greater_equal(bits, np.int16(least), out=part)
    return torch.from_numpy(kept).view(like.shape)


def _scaled(x: Tensor, kept: Tensor, scale: float) -> Tensor:
    """Kept elements times ``scale``, in one launch: torch's operator for dropout's gradient."""
    scaled: Tensor = torch.ops.aten.native_dropout_backward(x, kept, scale)
    return scaled


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
