"""Whether torch.compile pays for a training step on this processor, and whether bfloat16 would.

    python benchmarks/compile.py [--json] [--rounds 5] [--limit 60]

Compiling. Every batch holds other lengths of histories and other numbers of active capsules, so the
three batches taken in turn are three different shapes, as in training.

    eager_seconds         the step as the trainer takes it
    parts_seconds         with the layers that treat an item alone (eq. 9 and 10) compiled for any
                          number of items
    parts_first_seconds   the first step with them, compiling included
    whole                 seconds of each of three steps with everything compiled; steps that had
                          not come after --limit seconds are missing

bfloat16. The encoder alone under autocast, the rest in float32: capsules are chosen by the largest
similarity (eq. 8), and the loss sums exponentials.

    autocast_seconds      the step with it
    loss_change           of the loss, relative; same weights and batch, noise and dropout off
    gradient_change       largest over the parameters of |difference| / |float32|, in norm (without
                          the bias that the softmax of eq. 9 cancels)
    capsule_changes       share of items that activate another capsule
    rate_ratio            matrix-product rate in bfloat16 / in float32, on the loss's shape

Seconds are the processor's on one thread (the least of the rounds), so that a machine that others
use as well can be read too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from benchmarks.step import CANCELLED, WEIGHTS, Problem, optimiser_of, ours_step, problem
from miracle_core.config import ModelSettings
from miracle_core.model.capsules import CapsuleOutput
from miracle_core.model.losses import coverage, orthogonality
from miracle_core.model.miracle import Miracle
from miracle_core.model.scoring import max_interest_cross_entropy

BATCHES = 3


def model_for(p: Problem) -> Miracle:
    """A model in training mode, the same each time."""
    torch.manual_seed(0)
    return Miracle(ModelSettings(), p.text.shape[1], p.n_items).train()


def steps_in_turn(model: Miracle, problems: Sequence[Problem]) -> Callable[[], None]:
    """One step on each of the batches."""
    optimiser = optimiser_of(model)
    steps = [ours_step(model, optimiser, p) for p in problems]

    def run() -> None:
        for step in steps:
            step()

    return run


def with_parts_compiled(p: Problem) -> Miracle:
    """A model whose layers for single items are compiled for any number of them."""
    model = model_for(p)
    model.capsules.features.compile(dynamic=True)
    if model.capsules.attention is not None:
        model.capsules.attention.compile(dynamic=True)
    return model


def whole() -> None:
    """Three steps with all of the forward pass compiled, a line of JSON each."""
    torch.set_num_threads(1)
    problems = [problem(ModelSettings(), 1024, seed) for seed in range(BATCHES)]
    model = model_for(problems[0])
    model.finetune_losses = torch.compile(model.finetune_losses)  # type: ignore[method-assign]
    optimiser = optimiser_of(model)
    for p in problems:
        begun = perf_counter()
        ours_step(model, optimiser, p)()
        print(perf_counter() - begun, flush=True)


def whole_within(limit: float) -> list[float]:
    """Seconds of the steps of :func:`whole` that came within the limit."""
    command = [sys.executable, "-m", "benchmarks.compile", "--whole"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=limit, check=True, cwd=harness.ROOT
        )
        said = done.stdout
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
    return [float(line) for line in said.split()]


def losses(model: Miracle, p: Problem, autocast: bool) -> tuple[Tensor, CapsuleOutput]:
    """What ``Miracle.finetune_losses`` computes, the encoder under autocast if asked for."""
    x = model.catalogue(p.text)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        H = model.context(F.embedding(p.packed.items, x), p.packed)
    output: CapsuleOutput = model.capsules(H.float(), p.packed)
    interests = output.interests
    total = (
        max_interest_cross_entropy(interests, x, p.targets[interests.users])
        + WEIGHTS.coverage * coverage(output.similarity, output.activated)
        + WEIGHTS.orthogonality * orthogonality(model.capsules.base)
    )
    return total, output


def autocast_step(model: Miracle, p: Problem, autocast: bool) -> Callable[[], None]:
    """A whole step of :func:`losses`."""
    optimiser = optimiser_of(model)

    def step() -> None:
        total, _ = losses(model, p, autocast)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def autocast_changes(p: Problem) -> dict[str, float]:
    """What autocast does to the loss, its gradients and the choice of capsules."""
    found = []
    for autocast in (False, True):
        model = model_for(p).eval()
        total, output = losses(model, p, autocast)
        total.backward()
        gradients = {
            name: parameter.grad
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and name != CANCELLED
        }
        found.append((total.item(), output.activated, gradients))
    (loss, activated, exact), (other_loss, other_activated, rounded) = found
    return {
        "loss_change": abs(other_loss - loss) / abs(loss),
        "gradient_change": max(
            ((rounded[name] - g).norm() / g.norm()).item() for name, g in exact.items()
        ),
        "capsule_changes": (activated != other_activated).float().mean().item(),
    }


def rate_ratio(rounds: int) -> float:
    """How much faster bfloat16 multiplies matrices of the loss's shape."""
    a, b = torch.randn(3500, 300), torch.randn(300, 4385)
    c, d = a.bfloat16(), b.bfloat16()
    seconds = harness.alternate(
        rounds, clock=process_time, float32=lambda: a @ b, bfloat16=lambda: c @ d
    )
    return min(seconds["float32"]) / min(seconds["bfloat16"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=60.0)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.whole:
        whole()
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    problems = [problem(ModelSettings(), 1024, seed) for seed in range(BATCHES)]
    compiled = with_parts_compiled(problems[0])
    begun = process_time()
    ours_step(compiled, optimiser_of(compiled), problems[0])()
    first = process_time() - begun
    seconds = harness.alternate(
        options.rounds,
        clock=process_time,
        eager=steps_in_turn(model_for(problems[0]), problems),
        parts=steps_in_turn(compiled, problems),
        float32=autocast_step(model_for(problems[0]), problems[0], False),
        autocast=autocast_step(model_for(problems[0]), problems[0], True),
    )
    least = {name: min(values) for name, values in seconds.items()}
    result: dict[str, Any] = {
        "eager_seconds": least["eager"] / BATCHES,
        "parts_seconds": least["parts"] / BATCHES,
        "parts_speedup": least["eager"] / least["parts"],
        "parts_first_seconds": first,
        "whole": whole_within(options.limit),
        "whole_limit_seconds": options.limit,
        "autocast_seconds": least["autocast"],
        "autocast_speedup": least["float32"] / least["autocast"],
        **autocast_changes(problems[0]),
        "rate_ratio": rate_ratio(options.rounds),
        "machine": harness.machine(),
    }
    torch.set_num_threads(threads)
    rows = [(k, f"{v:.4g}" if isinstance(v, float) else str(v)) for k, v in result.items()]
    harness.show("Compiling and bfloat16", rows, result if options.json else None)


if __name__ == "__main__":
    main()
