"""Weights as safetensors files: no pickle, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from miracle_core.errors import InputError
from miracle_core.files import replacing
from miracle_core.systems.base import System


def save_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    needed = sum(tensor.nbytes for tensor in plain.values())
    with replacing(path, needed=needed) as beside:
        save_file(plain, beside, metadata)


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: tensors on the CPU, and its metadata.

    Raises:
        InputError: missing, cut off or not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"can't be read as safetensors: {error}", where=str(path)) from error


def load_weights(model: System, tensors: dict[str, Tensor], *, where: str) -> None:
    """Put weights into a system of the same shapes.

    Buffers whose size follows the data (``data_sized`` of a module) take that of the file.

    Raises:
        InputError: a weight is missing, unknown or of another shape (the first is named); or the
            weights are inconsistent (:meth:`System.check`).
    """
    for prefix, module in model.named_modules():
        for name in getattr(module, "data_sized", ()):
            own, read = getattr(module, name), tensors.get(f"{prefix}.{name}" if prefix else name)
            if read is not None and (read.dtype, read.ndim) == (own.dtype, own.ndim):
                setattr(module, name, read.to(own.device))
    expected = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    for name in sorted(expected.keys() | tensors.keys()):
        have = tuple(tensors[name].shape) if name in tensors else None
        if expected.get(name) != have:
            raise InputError(
                f"weight {name!r} has shape {have}, the settings and data ask for "
                f"{expected.get(name)}",
                where=where,
                remedy="the run's config.toml, data or weights were changed; train again",
            )
    model.load_state_dict(tensors)
    try:
        model.check()
        if model.cooccurrence is not None:
            model.cooccurrence.check()
    except ValueError as error:
        raise InputError(str(error), where=where, remedy="train again") from error
