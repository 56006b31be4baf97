"""What a training asks of its device: products in low precision, compiled layers, kernels."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional as F  # noqa: N812

from miracle_core.config import Precision
from miracle_core.errors import InputError
from miracle_core.model.capsules import Interests
from miracle_core.model.miracle import Miracle
from miracle_core.model.repeats import Repeats
from miracle_core.model.scoring import max_interest_cross_entropy

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Gradients here have norms of up to some hundreds, and torch's own first scale of 65,536 would
# overflow until some steps had been skipped.
FIRST_SCALE = 1024.0
# The compute capability from which on a GPU has circuits for it.
LEAST = {"bf16": (8, 0), "fp16": (7, 0)}
# How far Triton's loss and gradients may be from float64's: |difference| / |float64|, in norm.
TRITON_ALLOWED = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A block whose large matrix products are made in this precision."""
    return torch.autocast(device.type, dtype=TYPES[precision], enabled=precision != "fp32")


def grad_scaler(precision: Precision, device: torch.device) -> GradScaler:
    """What keeps small gradients within the range of fp16; it does nothing in another precision."""
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


def compile_layers(model: Miracle, device: torch.device) -> None:
    """Compile the layers that treat an item alone (eq. 9 and 10), for any number of items.

    The rest takes other shapes in every batch, counted from the data; compiling it takes minutes
    and saves nothing (``benchmarks/compile.py``).

    Raises:
        InputError: there is no compiler for this device.
    """
    capsules = model.capsules
    for layer in (capsules.features, capsules.attention):
        if layer is not None:
            layer.compile(dynamic=True)
    try:
        capsules.features(torch.zeros(2, model.settings.width, device=device))
    # Whatever of the compiler's many parts is missing, it says so in an error of its own kind.
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise InputError(
            f"torch can't compile here: {first}",
            where="train.compile",
            remedy="install a C++ compiler (on a GPU also triton), or leave train.compile out",
        ) from error


def use_triton(model: Miracle, precision: Precision, device: torch.device) -> None:
    """Let Triton kernels compute the loss of the next item, where they show that they can.

    They have run on few GPUs, so a small loss and its gradients are compared first.

    Raises:
        InputError: Triton is not installed, the device is no GPU of CUDA, or there the kernels
            don't compile, don't run, or compute something else.
    """
    why = None
    if find_spec("triton") is None:
        why = "Triton is not installed"
    elif device.type != "cuda":
        why = f"Triton's kernels need a GPU of CUDA, and this is {device}"
    else:
        try:
            error = triton_error(model.settings.width, precision, device)
        # As for the compiler above: an error of any kind.
        except Exception as failed:
            why = f"Triton's kernels don't run here: {str(failed).strip().partition(chr(10))[0]}"
        else:
            # Not "greater than": the error may be no number.
            if not error <= TRITON_ALLOWED[precision]:
                why = f"Triton's kernels compute something else here (relative error {error:.1e})"
    if why is not None:
        raise InputError(why, where="train.kernels", remedy="leave it at torch")
    model.triton = True


def triton_error(width: int, precision: Precision, device: torch.device) -> float:
    """How far a small loss and its gradients by Triton are from float64's on the processor.

    Args:
        width: of interests and items.
        precision: of the products.
        device: where Triton runs.

    Returns:
        The largest relative error, in norm, of the loss and of its gradients for interests, items
        and the gain of repeats.
    """
    exact = _small_loss(width, torch.float64, torch.device("cpu"), triton=False)
    with autocast(precision, device):
        found = _small_loss(width, torch.float32, device, triton=True)
    errors = [(a - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)]
    # A comparison would pass over what is not a number; max of a tensor doesn't.
    return float(torch.stack(errors).max())


def _small_loss(
    width: int, dtype: torch.dtype, device: torch.device, *, triton: bool
) -> list[Tensor]:
    """The same loss each time, and its gradients; in float64 on the processor.

    40 users of one interest and 40 of three, 100 items: more than a tile of each.
    """
    draw = torch.Generator().manual_seed(0)
    vectors, items = (
        F.normalize(torch.randn(n, width, generator=draw)).to(device, dtype).requires_grad_()
        for n in (160, 100)
    )
    targets = torch.randint(100, (80,), generator=draw).to(device)
    users, had = (torch.rand(80, 100, generator=draw) < 0.1).nonzero().to(device).unbind(1)
    gain = torch.tensor(0.2, dtype=dtype, device=device, requires_grad=True)
    order = torch.arange(80, device=device)
    loss = max_interest_cross_entropy(
        Interests(vectors, torch.zeros_like(order[:1]).expand(160), order, ((1, 40), (3, 40))),
        items,
        targets,
        scale=8.0,
        repeats=Repeats.of_pairs(users, had, gain, 80),
        triton=triton,
    )
    gradients = torch.autograd.grad(loss, (vectors, items, gain))
    return [part.detach().cpu().double() for part in (loss, *gradients)]
