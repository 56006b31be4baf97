"""What each trained system of the paper's table 2 costs on a Dataset: seconds an epoch and memory.

    python benchmarks/cost.py DATA [--systems SASRec MIND] [--epochs 2] [--set NAME=VALUE] [--json]

    DATA    a Dataset with text features

Each system is trained from scratch by ``miracle train``, on one thread, in a process of its own:
for one epoch, then for that many more. Seconds are the processor's: those of the second run beyond
the first, divided by the further epochs. They include the validation after each epoch. Memory is
the largest resident size of the second process. The row of popularity says how much of it Python,
PyTorch and the Dataset take. S3-Rec's pre-training on the Dataset has a row of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness import machine
from miracle_core.config import flat
from miracle_core.experiments.definition import SystemRow, read_experiment
from miracle_core.registry import system

BASE = "popularity"


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        seconds: of the processor.
        peak: largest resident size in bytes.
    """

    seconds: float
    peak: int


def run(command: str, data: str, settings: Sequence[str]) -> Cost:
    """``miracle train`` or ``miracle pretrain`` in a process of its own, and what it took."""
    given = [part for each in settings for part in ("--set", each)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    with tempfile.TemporaryDirectory() as room:
        words = [sys.executable, "-m", "miracle_cli", command, "--data", data, "--quiet"]
        words += ["--seen", "as-printed", "--threads", "1", "--out", f"{room}/run", *given]
        process = subprocess.Popen(words, env={**os.environ, **one}, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed: see its message above")
    # Linux counts kibibytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss * unit)


def measure(
    row: SystemRow, command: str, data: str, more: Sequence[str], epochs: int
) -> dict[str, Any]:
    """Seconds an epoch and peak memory of a system, or the whole of one that has no epochs.

    Args:
        row: the system, as an experiment names it.
        command: ``train`` or ``pretrain``.
        data: the Dataset.
        more: settings of every run.
        epochs: how many the seconds are averaged over.
    """
    settings = [f"{name}={value}" for name, value in flat(row.settings).items()]
    name = row.name if command == "train" else f"{row.name}, pre-training"
    if "train" not in system(row.kind).stages:
        whole = run(command, data, [*settings, "train.test=false"])
        return {"system": name, "epoch_seconds": None, "seconds": whole.seconds, "peak": whole.peak}
    settings += more
    if command == "train":
        settings.append("train.test=false")
    first = run(command, data, [*settings, "train.epochs=1"])
    last = run(command, data, [*settings, f"train.epochs={1 + epochs}"])
    seconds = (last.seconds - first.seconds) / epochs
    return {"system": name, "epoch_seconds": seconds, "seconds": None, "peak": last.peak}


def main() -> None:
    """Measure, and print a row a system."""
    rows = [row for row in read_experiment("table2").system if row.pretrain != "domains"]
    names = [row.name for row in rows]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--systems", nargs="+", choices=names, default=names)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.epochs < 1:
        parser.error("--epochs must be at least 1")
    torch.set_num_threads(1)
    found = []
    for row in rows:
        if row.name not in asked.systems:
            continue
        for command in ("train", "pretrain") if row.pretrain == "own" else ("train",):
            cost = measure(row, command, asked.data, asked.set, asked.epochs)
            found.append(cost)
            if not asked.json:
                each = cost["epoch_seconds"]
                time = (
                    f"{cost['seconds']:8.1f} s in all"
                    if each is None
                    else f"{each:8.1f} s an epoch"
                )
                print(f"{cost['system']:<22}{time:<22}{cost['peak'] / 2**20:8,.0f} MiB", flush=True)
    if asked.json:
        print(orjson.dumps({"machine": machine(), "systems": found}).decode())
    else:
        print(machine())


if __name__ == "__main__":
    main()
