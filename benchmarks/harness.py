"""What the benchmarks share: a fair clock, the machine's name and rate, memory beyond a base."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import orjson
import torch

from miracle_core.data.dataset import Dataset

ROOT = Path(__file__).resolve().parents[1]
# The shapes of the paper's Scientific data set: what is generated where the real one is absent.
SCIENTIFIC_USERS, SCIENTIFIC_ITEMS, SCIENTIFIC_TEXT_WIDTH = 8442, 4385, 384


def machine() -> str:
    """The processor, its cores, the threads in use and torch's version."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    threads = torch.get_num_threads()
    used = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"{name}, {os.cpu_count()} cores, {used}, torch {torch.__version__}"


def alternate(
    rounds: int, *, clock: Callable[[], float] = perf_counter, **actions: Callable[[], Any]
) -> dict[str, list[float]]:
    """Seconds of each action, taken in turn so that a drifting machine favours none.

    Each is run once before, uncounted. ``clock=process_time`` counts the processor's seconds: with
    one thread, what to look at where other programs share the machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(rounds):
        for name, action in actions.items():
            begun = clock()
            action()
            seconds[name].append(clock() - begun)
    return seconds


# Rows, inner length and columns of a matrix product.
Shape = tuple[int, int, int]
# The product whose rate is called the machine's.
SQUARE: dict[Shape, int] = {(2048, 2048, 2048): 1}


class Products:
    """The matrix products that a piece of work can't do without, to be timed alone.

    Calling it does each of them, one after another, with operands and result at hand.

    Args:
        shapes: how often each shape occurs.
    """

    def __init__(self, shapes: Mapping[Shape, int]) -> None:
        self.operations = sum(2.0 * m * k * n * times for (m, k, n), times in shapes.items())
        self._work = [
            (torch.randn(m, k), torch.randn(k, n), torch.empty(m, n), times)
            for (m, k, n), times in shapes.items()
        ]

    def __call__(self) -> None:
        """Do them all."""
        for a, b, out, times in self._work:
            for _ in range(times):
                torch.mm(a, b, out=out)


def square_rate(rounds: int = 5) -> float:
    """Floating-point operations a second of a float32 product of two 2048 x 2048 matrices."""
    square = Products(SQUARE)
    return square.operations / median(alternate(rounds, square=square)["square"])


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def peak_beyond_resident(action: Callable[[], Any]) -> int:
    """Bytes of resident memory that an action takes at its peak beyond what was resident before.

    Freed memory that the allocator still holds is given back first, so it can't hide a peak.
    """
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    action()
    return _status("VmHWM") - before


def in_fresh_process(module: str, *arguments: str) -> Any:
    """Run ``python -m module arguments`` and read the JSON it prints: memory is measured so."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.PIPE, cwd=ROOT
    )
    return orjson.loads(done.stdout)


def scientific_sequences(seed: int = 0) -> tuple[np.ndarray, np.ndarray, int]:
    """Sequences and offsets of the Scientific data set's shape, and its number of items.

    The real ones where MIRACLE_BENCH_DATA names a Dataset folder, else generated: the same users
    and items, lengths drawn so that their mean is the real one (7), items long-tailed.
    """
    folder = os.environ.get("MIRACLE_BENCH_DATA")
    if folder:
        dataset = Dataset.open(folder)
        return np.asarray(dataset.sequences), np.asarray(dataset.offsets), dataset.n_items
    generator = np.random.default_rng(seed)
    lengths = 5 + generator.geometric(1 / 3.04, SCIENTIFIC_USERS) - 1
    weights = 1.0 / (np.arange(SCIENTIFIC_ITEMS) + 20.0)
    items = generator.choice(SCIENTIFIC_ITEMS, lengths.sum(), p=weights / weights.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return items.astype(np.int32), offsets, SCIENTIFIC_ITEMS


def show(title: str, rows: Sequence[tuple[str, str]], as_json: Mapping[str, Any] | None) -> None:
    """Print a table, or one JSON document."""
    if as_json is not None:
        print(orjson.dumps(as_json, option=orjson.OPT_INDENT_2).decode())
        return
    print(f"\n{title}\n{machine()}")
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
