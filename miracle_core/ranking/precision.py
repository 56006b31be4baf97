"""Matrix products in low precision (torch's autocast), and how to keep other sums out of it."""

from __future__ import annotations

import torch
from torch import Tensor


def exact(x: Tensor) -> torch.autocast:
    """A block without autocast, for choices, softmaxes and sums of many exponentials."""
    return torch.autocast(x.device.type, enabled=False)


def product_type(x: Tensor) -> torch.dtype:
    """The type for matrix products: autocast's where it is on, else the matrices' own.

    For autograd functions that write products into buffers: autocast does not change these.
    """
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def in_full(x: Tensor) -> Tensor:
    """The tensor in float32 if it is of a lower precision, so that sums of it are exact enough."""
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
