"""A training step, a validation and a recommendation: here beside another checkout.

    python benchmarks/pairs.py OTHER --data DATA --run RUN [--pairs 20] [--json]

OTHER is a second checkout, such as ``git worktree add ../before COMMIT`` makes. Each checkout works
in a process of its own, on one thread; they take turns, so that both see the same machine. Of each
pair the ratio of processor seconds, this one's / the other's, is taken. Printed are the ratios'
geometric mean and its 95 % interval. Peak memory is of processes of their own, one a task, that
give freed memory back at once: what an allocator keeps for later differs by 5 % from run to run.

    DATA    a Dataset with text features (Scientific in docs/performance.md)
    RUN     a run of MIRACLE that both can read
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import orjson
from scipy.stats import t as student_t

STEPS, ANSWERS = 2, 50
# What makes glibc give freed memory back, so that a process holds what it uses.
LEAN = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
}


def work(data: str, run: str) -> None:
    """Answer on stdout, with processor seconds, each name of a task that comes on stdin."""
    import torch

    torch.set_num_threads(1)
    tasks = _tasks(data, run)
    for line in sys.stdin:
        task = tasks[line.strip()]
        started = time.process_time()
        task()
        seconds = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(orjson.dumps([seconds, peak]).decode(), flush=True)


def _tasks(data: str, run: str) -> dict[str, Callable[[], object]]:
    """What is timed, by name; nothing here may need more than both checkouts have."""
    from importlib import import_module

    from miracle_core.config import make_settings
    from miracle_core.data.dataset import Dataset
    from miracle_core.processes import Processes
    from miracle_core.recommender import Recommender
    from miracle_core.training.finetuning import Finetuning

    try:
        folder: Any = import_module("miracle_core.runs.folder")
    except ImportError:
        folder = import_module("miracle_core.training.run_folder")
    dataset = Dataset.open(data)
    beside = folder.RunFolder(Path(tempfile.mkdtemp()))
    training = Finetuning(make_settings({"data": data}), beside, dataset, None, Processes())
    order = training.order(1)
    size = training.settings.train.batch_size
    recommender = Recommender.load(run)
    read = recommender.dataset
    histories = [read.sequence(user)[:-1].tolist() for user in range(recommender.n_users)]
    histories = [history for history in histories if history][:ANSWERS]
    recommender.recommend(histories[0])

    def steps() -> None:
        for start in range(0, len(order), size)[:STEPS]:
            training.step(order[start:][:size])

    def answers() -> None:
        for history in histories:
            recommender.recommend(history)

    return {"step": steps, "evaluation": training.validate, "recommend": answers}


class Worker:
    """A process that works in one checkout."""

    def __init__(self, checkout: Path, data: Path, run: Path, *, lean: bool = False) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
        allocator = LEAN if lean else {}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--work", str(data), str(run)],
            cwd=checkout,
            env={**os.environ, **threads, **allocator, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, task: str) -> tuple[float, int]:
        """Processor seconds of a task, and the most memory so far in KiB."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{task}\n")
        self._process.stdin.flush()
        seconds, peak = orjson.loads(self._process.stdout.readline())
        return seconds, peak

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def peak(checkout: Path, task: str, data: Path, run: Path) -> int:
    """The most memory that a process of a checkout takes for one task, in KiB."""
    worker = Worker(checkout, data, run, lean=True)
    kib = worker.do(task)[1]
    worker.close()
    return kib


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """The geometric mean of two or more ratios, and its 95 % interval (Student's t of the logs)."""
    logs = [math.log(ratio) for ratio in ratios]
    half = float(student_t.ppf(0.975, len(logs) - 1)) * stdev(logs) / math.sqrt(len(logs))
    middle = fmean(logs)
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def main() -> None:
    """Time the pairs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.pairs < 2:
        parser.error("an interval needs two pairs or more")
    data, run = asked.data.resolve(), asked.run.resolve()
    here = Path(__file__).resolve().parents[1]
    other_checkout = asked.other.resolve()
    ours, theirs = Worker(here, data, run), Worker(other_checkout, data, run)
    found: dict[str, Any] = {}
    for task in ("step", "evaluation", "recommend"):
        for worker in (ours, theirs):  # not counted: the first time is slower
            worker.do(task)
        ratios = []
        for pair in range(asked.pairs):
            first, second = (ours, theirs) if pair % 2 else (theirs, ours)
            one, other = first.do(task), second.do(task)
            mine, their = (one, other) if first is ours else (other, one)
            ratios.append(mine[0] / their[0])
        middle, low, high = interval(ratios)
        memory = peak(here, task, data, run) / peak(other_checkout, task, data, run)
        found[task] = {"ratio": middle, "low": low, "high": high, "memory_ratio": memory}
    if asked.json:
        print(orjson.dumps(found).decode())
        return
    for task, row in found.items():
        print(
            f"{task:<12} {row['ratio']:.3f} (95 %: {row['low']:.3f} to {row['high']:.3f}), "
            f"memory {row['memory_ratio']:.3f}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:4])
    else:
        main()
