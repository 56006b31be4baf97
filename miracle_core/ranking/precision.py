"""Products of matrices in low precision (torch's autocast), and what must not be touched by it."""

from __future__ import annotations

import torch
from torch import Tensor


def exact(x: Tensor) -> torch.autocast:
    """A block without autocast: a choice, a softmax or a sum of many exponentials is made here."""
    return torch.autocast(x.device.type, enabled=False)


def product_type(x: Tensor) -> torch.dtype:
    """What matrices are to be multiplied in: autocast's type where it is on, else their own.

    For autograd functions of our own, whose products write into buffers: autocast leaves those be.
    """
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def in_full(x: Tensor) -> Tensor:
    """The tensor in float32 where it is of a lower precision: what sums are to be made of it in."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def add_product(total: Tensor, a: Tensor, b: Tensor, *, first: bool = False) -> None:
    """Add the product a b to ``total`` in place; a and b may be of a lower precision.

    Args:
        total: [rows, columns].
        a: [rows, n].
        b: [n, columns].
        first: write the product over whatever ``total`` holds.
    """
    if a.dtype == total.dtype:
        torch.addmm(total, a, b, beta=0 if first else 1, out=total)
    elif first:
        total.copy_(a @ b)
    else:
        total.add_(a @ b)
