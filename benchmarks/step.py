"""One training step: ours, the dense comparison, and the arithmetic floor.

    python benchmarks/step.py [--json] [--rounds 5]

    speedup         seconds of the dense step / ours (median of rounds taken in turn)
    memory_ratio    peak memory beyond what is resident before the step, ours / dense
    floor_ratio     seconds of ours / seconds of the step's useful matrix products, done alone
    square_floor_ratio  the same, had those products the rate of one of 2048 x 2048 matrices
    loss_error      relative, same weights and batch, noise and dropout off
    gradient_error  largest over the parameters of |ours - dense| / |dense|, in norm (without the
                    bias b4 of eq. 9: the softmax cancels it, its gradient is nothing but rounding)

The useful products are those that no method can leave out: no padding, active capsules only, no
recomputation, forward and backward, each at its own shape with operands and result at hand. They
are timed in turn with the two steps, and so is the square one, which has the rate that no shape of
the step's reaches. Shapes: Scientific's, batch 1024.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from benchmarks.dense import DenseMiracle, pad, training_step
from miracle_core.data.packed import Packed, pack
from miracle_core.memory import keep_freed_memory
from miracle_core.systems.base import Batch, ItemSide
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.systems.miracle.settings import MiracleSettings

CLIP = 1.0
CANCELLED = "capsules.attention.score.bias"


@dataclass(frozen=True)
class Problem:
    """A batch of training examples of Scientific's shape, packed and padded.

    Attributes:
        text: [items, 384], scaled.
        packed: the histories, packed.
        targets: int64 [users], in packed order.
        items: int64 [users, N], the same histories padded, in packed order.
        valid: bool [users, N].
    """

    text: Tensor
    packed: Packed
    targets: Tensor
    items: Tensor
    valid: Tensor

    def batch(self) -> tuple[ItemSide, Batch]:
        """The same as a training gives it to a system."""
        return ItemSide(self.text), Batch(self.packed, self.targets, self.packed.order)

    @property
    def n_items(self) -> int:
        """Items in the catalogue."""
        return self.text.shape[0]


def problem(settings: MiracleSettings, batch: int, seed: int = 0) -> Problem:
    """Draw a batch of prefixes of training sequences, as training does."""
    return _problem(settings, batch, *harness.scientific_sequences(), seed)


def problem_with(settings: MiracleSettings, batch: int, n_items: int, seed: int = 0) -> Problem:
    """The same histories' lengths over a catalogue of any size, items drawn uniformly."""
    sequences, offsets, _ = harness.scientific_sequences()
    items = np.random.default_rng(seed).integers(0, n_items, len(sequences), dtype=np.int32)
    return _problem(settings, batch, items, offsets, n_items, seed)


def _problem(
    settings: MiracleSettings,
    batch: int,
    sequences: np.ndarray,
    offsets: np.ndarray,
    n_items: int,
    seed: int,
) -> Problem:
    generator = np.random.default_rng(seed)
    counts = np.maximum(np.diff(offsets) - 3, 0)
    users = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    positions = offsets[users] + 1 + within
    chosen = generator.choice(len(users), batch, replace=False)
    starts, ends = offsets[users[chosen]].astype(np.int64), positions[chosen].astype(np.int64)
    packed = pack(sequences, starts, ends, settings.max_length)
    order = packed.order.numpy()
    items, valid = pad(sequences, starts[order], ends[order], settings.max_length)
    torch.manual_seed(seed)
    text = Miracle(settings, 1).prepared(torch.randn(n_items, harness.SCIENTIFIC_TEXT_WIDTH))
    targets = torch.from_numpy(sequences[ends[order]].astype(np.int64))
    return Problem(text, packed, targets, items, valid)


def useful_products(settings: MiracleSettings, p: Problem, active: int) -> dict[harness.Shape, int]:
    """The matrix products of one step, forward and backward.

    The products inside one history (attention, routing) are too small to time alone and are left
    out, which lowers the floor.

    Args:
        settings: the network's.
        p: the batch.
        active: active (user, capsule) pairs.
    """
    d, tokens, text_width = settings.width, p.packed.n_tokens, p.text.shape[1]
    shapes: dict[harness.Shape, int] = {}

    def linear(rows: int, inputs: int, outputs: int, times: int, *, input_gradient: bool) -> None:
        """Of y = x W, the gradient of W, and where something learned is below, that of x."""
        products = [(rows, inputs, outputs), (inputs, rows, outputs)]
        if input_gradient:
            products.append((rows, outputs, inputs))
        for shape in products:
            shapes[shape] = shapes.get(shape, 0) + times

    linear(p.n_items, text_width, settings.experts * d, 1, input_gradient=False)  # eq. 4
    linear(tokens, d, 3 * d, settings.layers, input_gradient=True)  # eq. 6
    linear(tokens, d, d, settings.layers, input_gradient=True)
    linear(tokens, d, settings.inner, settings.layers, input_gradient=True)
    linear(tokens, settings.inner, d, settings.layers, input_gradient=True)
    linear(tokens, d, settings.capsules, 1, input_gradient=True)  # eq. 7
    linear(tokens, d, d, 2, input_gradient=True)  # eq. 9, 10
    linear(active, d, p.n_items, 1, input_gradient=True)  # eq. 17
    return shapes


def ours_step(model: Miracle, optimiser: torch.optim.Optimizer, p: Problem) -> Callable[[], Tensor]:
    """A whole step of ours, as the trainer takes it before it averages the weights."""

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        losses = model.objective(*p.batch())
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        return losses.total.detach()

    return step


def dense_step(
    model: DenseMiracle, optimiser: torch.optim.Optimizer, p: Problem
) -> Callable[[], Tensor]:
    """A whole step of the dense comparison."""
    return lambda: training_step(model, optimiser, p.text, p.items, p.valid, p.targets, CLIP)


def optimiser_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    """The trainer's optimiser."""
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)


def errors(settings: MiracleSettings, p: Problem) -> tuple[float, float]:
    """Relative differences of loss and gradients, noise and dropout off."""
    torch.manual_seed(1)
    ours = Miracle(settings, p.text.shape[1], p.n_items).eval()
    dense = DenseMiracle(settings, p.text.shape[1], p.n_items).eval()
    dense.load_state_dict(ours.state_dict())
    a = ours.objective(*p.batch()).total
    b, _ = dense.losses(p.text, p.items, p.valid, p.targets)
    a.backward()
    b.backward()
    theirs = dict(dense.named_parameters())
    worst = 0.0
    for name, parameter in ours.named_parameters():
        reference = theirs[name].grad
        if parameter.grad is None or reference is None or name == CANCELLED:
            continue
        difference = (parameter.grad - reference).norm() / reference.norm()
        worst = max(worst, difference.item())
    return abs((a - b) / b).item(), worst


def memory(which: str, batch: int) -> dict[str, int]:
    """Peak memory of one step of ``ours`` or ``dense``, in this (fresh) process."""
    keep_freed_memory()
    settings = MiracleSettings()
    p = problem(settings, batch)
    model: Miracle | DenseMiracle
    if which == "ours":
        model = Miracle(settings, p.text.shape[1], p.n_items).train()
        step = ours_step(model, optimiser_of(model), p)
    else:
        model = DenseMiracle(settings, p.text.shape[1], p.n_items).train()
        step = dense_step(model, optimiser_of(model), p)
    step()
    model.zero_grad(set_to_none=True)
    return {"bytes": harness.peak_beyond_resident(step)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--memory", choices=("ours", "dense"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(orjson.dumps(memory(options.memory, options.batch)).decode())
        return
    keep_freed_memory()
    settings = MiracleSettings()
    p = problem(settings, options.batch)
    loss_error, gradient_error = errors(settings, p)
    ours = Miracle(settings, p.text.shape[1], p.n_items).train()
    dense = DenseMiracle(settings, p.text.shape[1], p.n_items).train()
    dense.load_state_dict(ours.state_dict())
    with torch.no_grad():
        output = ours.eval()(ours.inputs(ItemSide(p.text))[p.packed.items], p.packed)
        active = output.interests.vectors.shape[0]
    ours.train()
    products = harness.Products(useful_products(settings, p, active))
    square = harness.Products(harness.SQUARE)
    seconds = harness.alternate(
        options.rounds,
        products=products,
        square=square,
        ours=ours_step(ours, optimiser_of(ours), p),
        dense=dense_step(dense, optimiser_of(dense), p),
    )
    peaks = {
        which: harness.in_fresh_process(
            "benchmarks.step", "--memory", which, "--batch", str(options.batch)
        )["bytes"]
        for which in ("ours", "dense")
    }
    ours_s, dense_s = harness.median(seconds["ours"]), harness.median(seconds["dense"])
    floor_s = harness.median(seconds["products"])
    square_rate = square.operations / harness.median(seconds["square"])
    square_floor_s = products.operations / square_rate
    result = {
        "speedup": dense_s / ours_s,
        "memory_ratio": peaks["ours"] / peaks["dense"],
        "floor_ratio": ours_s / floor_s,
        "square_floor_ratio": ours_s / square_floor_s,
        "loss_error": loss_error,
        "gradient_error": gradient_error,
        "ours_seconds": ours_s,
        "dense_seconds": dense_s,
        "ours_mib": peaks["ours"] / 2**20,
        "dense_mib": peaks["dense"] / 2**20,
        "floor_seconds": floor_s,
        "square_floor_seconds": square_floor_s,
        "useful_gflop": products.operations / 1e9,
        "product_gflop_per_second": products.operations / floor_s / 1e9,
        "square_product_gflop_per_second": square_rate / 1e9,
        "machine": harness.machine(),
    }
    rows = [(k, v if isinstance(v, str) else f"{v:.4g}") for k, v in result.items()]
    harness.show(f"Training step, batch {options.batch}", rows, result if options.json else None)


if __name__ == "__main__":
    main()
