"""Devices by the names that people type: ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""

from __future__ import annotations

import torch

from miracle_core.errors import InputError

AUTO = "auto"


def device_named(name: str, where: str = "--device") -> torch.device:
    """The device with this name; for ``auto`` an NVIDIA GPU if there is one, else the processor.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        where: what to call the place in an error.

    Raises:
        InputError: it is no such name, or there is no such device.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == AUTO:
        return torch.device("cuda" if cards else "cpu")
    kind, _, number = name.partition(":")
    known = kind in ("cpu", "cuda", "mps") and (not number or (kind == "cuda" and _whole(number)))
    if not known or name.endswith(":"):
        raise InputError(
            f"{name!r} is not a device", where=where, remedy="write auto, cpu, cuda, cuda:1 or mps"
        )
    if kind == "cuda" and int(number or 0) >= cards:
        have = f"there are {cards}, counted from 0" if cards else "PyTorch finds no GPU of NVIDIA's"
        raise InputError(f"there is no {name}: {have}", where=where, remedy=_instead(cards))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError(
            "there is no mps: PyTorch finds no GPU of Apple's", where=where, remedy=_instead(cards)
        )
    return torch.device(name)


def _whole(number: str) -> bool:
    return number.isascii() and number.isdigit()


def _instead(cards: int) -> str:
    return "take cuda or cpu" if cards else "take cpu"
