"""Batches ahead of the step: gathered on the device, or made by a thread while it computes.

A GPU that waits for its input computes nothing meanwhile. What training reads of a Dataset mostly
fits into the device's memory many times over; a batch is then a few gathers there. If it does not
fit, a thread makes the next batch during the step before it, in memory from which it is sent
without waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from miracle_core.data.dataset import Dataset
from miracle_core.data.examples import Examples
from miracle_core.data.packed import Packed, gather, pack, pad

Chosen = npt.NDArray[np.int64]
Batch = TypeVar("Batch")

# The most that is kept on the device: 2.7 x 10^8 interactions, more than most shops have.
RESIDENT_BYTES = 1 << 30


@dataclass(frozen=True)
class Taken:
    """Some examples.

    Attributes:
        packed: their histories.
        targets: int64 [histories], the item each took next, in packed order.
        examples: int64 [histories], the examples' numbers, in packed order.
    """

    packed: Packed
    targets: Tensor
    examples: Tensor

    def to(self, device: torch.device) -> Taken:
        """The same on a device."""
        return Taken(
            self.packed.to(device), sent(self.targets, device), sent(self.examples, device)
        )


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to a device without waiting for it."""
    return pinned(tensor, device).to(device, non_blocking=True)


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor in pinned memory, from which a GPU copies by itself; unchanged elsewhere."""
    return tensor.pin_memory() if device.type == "cuda" and tensor.is_cpu else tensor


class Resident:
    """Padded batches, gathered on a device that holds all examples.

    Args:
        sequences: integer [interactions].
        starts: int64 [examples], where each history begins.
        ends: int64 [examples], one past where it ends, which is where its target lies.
        max_length: N.
        device: where they are put.
    """

    def __init__(
        self,
        sequences: npt.NDArray[np.integer[Any]],
        starts: Chosen,
        ends: Chosen,
        max_length: int,
        device: torch.device,
    ) -> None:
        self.sequences, self.starts, self.ends = (
            torch.tensor(np.asarray(each), device=device) for each in (sequences, starts, ends)
        )
        self.max_length, self.device = max_length, device

    def take(self, chosen: Chosen) -> Taken:
        """Some examples, by number."""
        numbers = sent(torch.from_numpy(chosen), self.device)
        starts, ends = self.starts[numbers], self.ends[numbers]
        packed = gather(self.sequences, starts, ends, self.max_length)
        return Taken(packed, self.sequences[ends].to(torch.int64), numbers)

    def expect(self, chosen: Chosen) -> None:
        """Do nothing: there is nothing to prepare."""


class Ahead(Generic[Batch]):
    """Batches made on the host, optionally by a thread ahead of the step.

    What is made depends on the examples alone, so it is the same whether it was expected or not.

    Args:
        make: makes a batch of examples, by number, ready to be sent.
        thread: whether a thread makes what is expected.
    """

    def __init__(self, make: Callable[[Chosen], Batch], *, thread: bool) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches") if thread else None
        self._coming: dict[bytes, Future[Batch]] = {}

    def expect(self, chosen: Chosen) -> None:
        """Begin to make a batch that will be asked for."""
        if self._pool is not None:
            self._coming[chosen.tobytes()] = self._pool.submit(self._make, chosen)

    def take(self, chosen: Chosen) -> Batch:
        """A batch.

        Raises:
            Exception: whatever making it raised.
        """
        coming = self._coming.pop(chosen.tobytes(), None)
        return self._make(chosen) if coming is None else coming.result()


def feed(
    dataset: Dataset,
    examples: Examples,
    max_length: int | None,
    device: torch.device,
    *,
    padded: bool,
) -> Resident | Ahead[Taken]:
    """Where a training on one Dataset takes its batches from.

    Args:
        dataset: whose sequences.
        examples: what is learned from.
        max_length: N; None for whole histories, which are never padded.
        device: where the training computes.
        padded: whether histories are padded.

    Returns:
        Gives batches by the numbers of their examples.
    """
    sequences, offsets = dataset.sequences, dataset.offsets
    size = sequences.nbytes + 2 * examples.positions.nbytes
    if padded and max_length is not None and size <= RESIDENT_BYTES:
        starts = np.asarray(offsets[examples.users])
        return Resident(sequences, starts, examples.positions, max_length, device)

    def make(chosen: Chosen) -> Taken:
        users, positions = examples.users[chosen], examples.positions[chosen]
        starts = np.asarray(offsets[users])
        if padded and max_length is not None:
            packed = pad(sequences, starts, positions, max_length)
        else:
            packed = pack(sequences, starts, positions, max_length)
        targets = np.asarray(sequences[positions], dtype=np.int64)
        return Taken(
            packed.pinned(device),
            pinned(torch.from_numpy(targets)[packed.order], device),
            pinned(torch.from_numpy(chosen)[packed.order], device),
        )

    return Ahead(make, thread=device.type == "cuda")
