"""A training step's time against history length, capsules and batch: ours and the dense one.

    python benchmarks/scaling.py [--json] [--rounds 3] [--plot docs/scaling.svg]

One of the three changes at a time; the others stay at 20 items, 32 capsules and a batch of 256.
Lengths of histories are drawn evenly from 1 to the longest, items from a catalogue of Scientific's
size. The dense comparison is left out where its tensor of scores would pass 1 GiB. Seconds are the
processor's on one thread, the least of rounds taken in turn: it is the shape of the curves that
counts. The plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from benchmarks.dense import DenseMiracle, pad
from benchmarks.step import Problem, dense_step, optimiser_of, ours_step
from miracle_core.data.packed import pack
from miracle_core.memory import keep_freed_memory
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.systems.miracle.settings import MiracleSettings

LENGTH, CAPSULES, BATCH = 20, 32, 256
SWEEPS: dict[str, tuple[int, ...]] = {
    "length": (5, 10, 20, 50, 100),
    "capsules": (8, 16, 32, 64, 128),
    "batch": (64, 128, 256, 512, 1024),
}
AXES = {"length": "longest history", "capsules": "capsules", "batch": "batch"}
DENSE_SCORES_BYTES = 1 << 30


def problem_of(length: int, batch: int, seed: int = 0) -> Problem:
    """A batch whose histories have from 1 to ``length`` items."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, length + 1, batch)
    n_items = harness.SCIENTIFIC_ITEMS
    items = generator.integers(0, n_items, int(lengths.sum())).astype(np.int32)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    packed = pack(items, starts, ends, length)
    order = packed.order.numpy()
    padded, valid = pad(items, starts[order], ends[order], length)
    targets = torch.from_numpy(generator.integers(0, n_items, batch))
    torch.manual_seed(seed)
    text = torch.randn(n_items, harness.SCIENTIFIC_TEXT_WIDTH)
    return Problem(text, packed, targets, padded, valid)


def point(length: int, capsules: int, batch: int, rounds: int) -> dict[str, Any]:
    """Seconds of a step at one place."""
    settings = MiracleSettings(max_length=length, capsules=capsules)
    p = problem_of(length, batch)
    ours = Miracle(settings, p.text.shape[1], p.n_items).train()
    actions = {"ours": ours_step(ours, optimiser_of(ours), p)}
    if 4 * batch * capsules * p.n_items <= DENSE_SCORES_BYTES:
        dense = DenseMiracle(settings, p.text.shape[1], p.n_items).train()
        dense.load_state_dict(ours.state_dict())
        actions["dense"] = dense_step(dense, optimiser_of(dense), p)
    seconds = harness.alternate(rounds, clock=process_time, **actions)
    return {
        "length": length,
        "capsules": capsules,
        "batch": batch,
        "ours_seconds": min(seconds["ours"]),
        "dense_seconds": min(seconds["dense"]) if "dense" in seconds else None,
    }


def sweep(name: str, rounds: int, values: Sequence[int]) -> list[dict[str, Any]]:
    """A step at some values of one of the three."""
    usual = {"length": LENGTH, "capsules": CAPSULES, "batch": BATCH}
    points = []
    for value in values:
        points.append(point(**{**usual, name: value}, rounds=rounds))
        print(f"{name} {value}", file=sys.stderr, flush=True)
    return points


def plot(path: Path, sweeps: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw the three as one SVG; equal figures give equal bytes."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "miracle", "svg.fonttype": "none", "font.size": 10})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(sweeps), figsize=(10, 3.2), layout="constrained")
    for panel, (name, points) in zip(panels, sweeps.items(), strict=True):
        for who, colour, marker in (("dense", "#b45309", "s"), ("ours", "#1d4ed8", "o")):
            xs = [p[name] for p in points if p[f"{who}_seconds"] is not None]
            ys = [p[f"{who}_seconds"] for p in points if p[f"{who}_seconds"] is not None]
            panel.plot(xs, ys, marker=marker, color=colour, label=who)
        panel.set_xscale("log", base=2)
        panel.set_xticks(SWEEPS[name], [str(value) for value in SWEEPS[name]])
        panel.minorticks_off()
        panel.set_ylim(bottom=0)
        panel.set_xlabel(AXES[name])
        panel.grid(color="#e5e7eb")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("processor seconds a step")
    panels[0].legend(frameon=False)
    figure.suptitle(harness.machine(), fontsize=8, color="#6b7280")
    figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    """Measure, print and plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="an SVG to write")
    parser.add_argument("--quick", action="store_true", help="only the least of each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    sweeps = {
        name: sweep(name, options.rounds, values[:1] if options.quick else values)
        for name, values in SWEEPS.items()
    }
    if options.plot:
        plot(options.plot, sweeps)
    result = {"sweeps": sweeps, "machine": harness.machine()}
    rows = [
        (
            f"{name} {p[name]}",
            f"ours {p['ours_seconds']:.3f} s, dense "
            + (f"{p['dense_seconds']:.3f} s" if p["dense_seconds"] else "not run: too large"),
        )
        for name, points in sweeps.items()
        for p in points
    ]
    harness.show("Scaling of a step", rows, result if options.json else None)


if __name__ == "__main__":
    main()
