"""Products in low precision, and which device can make them."""

from __future__ import annotations

import torch
from torch.amp.grad_scaler import GradScaler

from miracle_core.config import Precision
from miracle_core.errors import InputError

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Gradients here have norms of up to some hundreds, and torch's own first scale of 65,536 would
# overflow until some steps had been skipped.
FIRST_SCALE = 1024.0
# The first compute capability of a GPU with circuits for this precision.
LEAST = {"bf16": (8, 0), "fp16": (7, 0)}


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A block whose large matrix products are made in this precision."""
    return torch.autocast(device.type, dtype=TYPES[precision], enabled=precision != "fp32")


def grad_scaler(precision: Precision, device: torch.device) -> GradScaler:
    """Keeps small gradients within the range of fp16; inactive in other precisions."""
    return GradScaler(device.type, init_scale=FIRST_SCALE, enabled=precision == "fp16")


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse a precision that the device can't multiply in.

    Raises:
        InputError: it can't, or only by emulation.
    """
    if precision != "fp32" and not _able(precision, device):
        raise InputError(
            f"the device can't multiply in {precision}",
            where=f"train.precision, {device}",
            remedy="leave it at fp32",
        )


def _able(precision: Precision, device: torch.device) -> bool:
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < LEAST[precision]:
        return False
    try:
        matrix = torch.ones(2, 2, dtype=TYPES[precision], device=device)
        (matrix @ matrix).softmax(-1)
    except RuntimeError:
        return False
    return True
