"""One training in several processes, each with a share of every batch and a device of its own.

``torchrun`` starts them and says so in the environment. Without it there is one process, and
everything here returns what it is given. Each process computes its contribution to a loss.
Contributions, and their gradients, sum over the processes to those of the whole batch.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from miracle_core.devices import AUTO, device_named
from miracle_core.errors import InputError, OtherProcessError


@dataclass(frozen=True)
class Processes:
    """All processes of a training, seen from one of them.

    Every process calls the same methods in the same order.

    Attributes:
        rank: which one this is, from 0; the first one writes files and reports progress.
        size: how many there are.
        device: where this one computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports progress."""
        return self.rank == 0

    def share(self, batch: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Processes, float]:
        """The share of a batch that this process takes.

        With fewer examples than processes, every process takes the whole batch by itself, and its
        contribution is 1 / size of the loss.

        Returns:
            The examples, the processes that share them, and a factor for the losses.
        """
        if len(batch) < self.size:
            return batch, Processes(device=self.device), 1 / self.size
        return np.array_split(batch, self.size)[self.rank], self, 1.0

    def fraction(self, n: int | Tensor) -> float | Tensor:
        """``n`` divided by its sum over the processes.

        Args:
            n: a number, or a scalar on the device; the result is then a scalar there, too.
        """
        if self.size == 1:
            return 1.0
        if isinstance(n, Tensor):
            return n / self.sum(n)
        return n / self.sum(torch.tensor(n)).item()

    def gather(self, rows: Tensor) -> tuple[Tensor, int]:
        """The rows of all processes, one process after another; gradients flow back to each.

        Args:
            rows: [n, ...], n may differ from one process to the next.

        Returns:
            All rows, and where this process's begin.
        """
        if self.size == 1:
            return rows, 0
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(rows)
        numbers = self.sum(counts).tolist()
        gathered: Tensor = _Gather.apply(rows, numbers, self)  # type: ignore[no-untyped-call]
        return gathered, sum(numbers[: self.rank])

    def gather_array(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """:meth:`gather` of an array."""
        if self.size == 1:
            return rows
        gathered, _ = self.gather(torch.from_numpy(rows).to(self.device))
        return gathered.cpu().numpy()

    def sum(self, values: Tensor) -> Tensor:
        """The elementwise sum over the processes, on the device of ``values``.

        With several processes it has no gradient; a single one gets ``values`` itself.
        """
        if self.size == 1:
            return values
        total = values.detach().to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(values.device)

    def any(self, *flags: bool) -> list[bool]:
        """Whether each flag is set in any process."""
        if self.size == 1:
            return list(flags)
        return [count > 0 for count in self.sum(torch.tensor(flags, dtype=torch.int64)).tolist()]

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Give each parameter the sum of its gradients over the processes, in one exchange.

        A parameter that has a gradient in no process is left without one.
        """
        if self.size == 1:
            return
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        have = [float(parameter.grad is not None) for parameter in learned]
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learned]
        flat = torch.cat([*parts, torch.tensor(have, device=self.device)])
        dist.all_reduce(flat)
        *sums, count = flat.split([*(len(part) for part in parts), len(learned)])
        for parameter, total, n in zip(learned, sums, count.tolist(), strict=True):
            parameter.grad = total.view_as(parameter) if n else None

    def on_first(self, work: Callable[[], object]) -> None:
        """Do work in the first process only, such as writing; the others wait until it is done.

        Raises:
            OtherProcessError: in the other processes, if the work failed. The first process raises
                the error of the work itself.
        """
        if self.size == 1:
            work()
            return
        failed = True
        try:
            self.sum(torch.zeros(1))  # wait until no process still reads what may be replaced now
            if self.first:
                work()
            failed = False
        finally:
            (failed_in_first,) = self.any(failed)
        if failed_in_first:
            raise OtherProcessError("the first process failed, and says why")


ALONE = Processes()


def processes(device: str = AUTO, where: str = "--device") -> Processes:
    """The processes that ``torchrun`` started, joined; or this process alone.

    Args:
        device: the name of where to compute; ``auto`` takes a GPU if there is one. With several
            processes each takes a GPU of its own.
        where: what to call the place in an error.

    Raises:
        InputError: there is no such device, or several processes are to share one.
    """
    named = device_named(device, where)
    if "WORLD_SIZE" not in os.environ:
        return Processes(device=named)
    if ":" in device or named.type == "mps":
        raise InputError(
            f"several processes can't share {device}",
            where=where,
            remedy="write cuda, of which each takes one, or cpu",
        )
    cuda, named = named.type == "cuda", torch.device("cpu")
    if cuda:
        named = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(named)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
        atexit.register(dist.destroy_process_group)
    return Processes(dist.get_rank(), dist.get_world_size(), named)


class _Gather(torch.autograd.Function):
    """The rows of all processes; a row's gradient is the sum of its gradients in all processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, numbers: list[int], processes: Processes) -> Tensor:
        padded = rows.new_zeros(max(numbers), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in numbers]
        dist.all_gather(parts, padded)
        ctx.numbers, ctx.rank = numbers, processes.rank
        return torch.cat([part[:n] for part, n in zip(parts, numbers, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.split(ctx.numbers)[ctx.rank], None, None
