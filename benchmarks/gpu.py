"""A GPU against this machine's processor: the same losses, examples a second, memory.

    python benchmarks/gpu.py [--json] [--batch 1024] [--steps 10]

For each of fp32, bf16 and fp16 that the GPU can multiply in (``train.precision``):

    PRECISION_loss_error           relative, to float32 on the processor; same weights and batch,
                                   noise and dropout off
    PRECISION_gradient_error       of all gradients together, |difference| / |float32|, in norm
    PRECISION_capsule_changes      share of items that activate another capsule
    PRECISION_examples_per_second  of whole steps in training, the batch at hand (best of 3 rounds)
    PRECISION_peak_mib             of GPU memory, in the same steps

What the device can't do is left out, and PRECISION_left_out says why.

It fails (exit code 1) where a loss error is above 1e-5 in fp32 or 1e-2 otherwise, or the gradient
error above 1e-3 in fp32. (In low precision a few items in a thousand activate another capsule at
the first weights, where all capsules are nearly alike; that moves gradients far more than rounding
does, and far less than the noise of training.) Without a GPU it says so; ``--json`` is then
{"device": null}. Shapes: Scientific's.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from benchmarks.step import CLIP, Problem, optimiser_of, problem
from miracle_core.config import Precision
from miracle_core.errors import InputError
from miracle_core.systems.base import ItemSide, Objective
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.systems.miracle.settings import MiracleSettings
from miracle_core.training.devices import autocast, check_precision, grad_scaler

ROUNDS = 3
ALLOWED = {
    "fp32_loss_error": 1e-5,
    "fp32_gradient_error": 1e-3,
    "bf16_loss_error": 1e-2,
    "fp16_loss_error": 1e-2,
}
CPU = torch.device("cpu")


def at(p: Problem, device: torch.device) -> Problem:
    """The batch on a device."""
    return replace(
        p, text=p.text.to(device), packed=p.packed.to(device), targets=p.targets.to(device)
    )


def model_for(
    settings: MiracleSettings,
    p: Problem,
    precision: Precision,
) -> Miracle:
    """The same weights each time, drawn on the processor.

    Raises:
        InputError: the device can't do it in this precision.
    """
    torch.manual_seed(0)
    device = p.text.device
    model = Miracle(settings, p.text.shape[1], p.n_items).to(device)
    check_precision(precision, device)
    return model


def losses_of(model: Miracle, p: Problem, precision: Precision) -> Objective:
    """The loss as the trainer takes it."""
    with autocast(precision, p.text.device):
        return model.objective(*p.batch())


def learned(model: Miracle, p: Problem, precision: Precision) -> tuple[Tensor, ...]:
    """Loss, all gradients in one row, and the capsules activated; on the processor."""
    model.eval()
    scaler = grad_scaler(precision, p.text.device)
    losses = losses_of(model, p, precision)
    scaler.scale(losses.total).backward()
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    gradient = torch.cat([grad.flatten() for grad in found]) / scaler.get_scale()
    with torch.inference_mode(), autocast(precision, p.text.device):
        inputs = model.inputs(ItemSide(p.text))
        activated = model.affinities(inputs[p.packed.items], p.packed).argmax(-1)
    return losses.total.detach().cpu(), gradient.cpu(), activated.cpu()


def speed(model: Miracle, p: Problem, precision: Precision, steps: int) -> dict[str, float]:
    """Examples a second of whole steps, and on a GPU their memory."""
    device = p.text.device
    cuda = device.type == "cuda"
    model.train()
    optimiser, scaler = optimiser_of(model), grad_scaler(precision, device)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(losses_of(model, p, precision).total).backward()
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        scaler.step(optimiser)
        scaler.update()

    step()
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(ROUNDS):
        begun = perf_counter()
        for _ in range(steps):
            step()
        if cuda:
            torch.cuda.synchronize(device)
        seconds.append(perf_counter() - begun)
    rate = {"examples_per_second": steps * len(p.targets) / min(seconds)}
    if cuda:
        rate["peak_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    return rate


def measure(
    device: torch.device, batch: int, steps: int, settings: MiracleSettings | None = None
) -> dict[str, Any]:
    """All figures of a device."""
    settings = settings or MiracleSettings()
    p = problem(settings, batch)
    there = at(p, device)
    reference = model_for(settings, p, "fp32")
    loss, gradient, activated = learned(reference, p, "fp32")
    found: dict[str, Any] = {}
    for precision in get_args(Precision):
        try:
            model = model_for(settings, there, precision)
        except InputError as error:
            found[f"{precision}_left_out"] = error.what
            continue
        other, other_gradient, other_activated = learned(model, there, precision)
        figures = {
            "loss_error": (abs(other - loss) / abs(loss)).item(),
            "gradient_error": ((other_gradient - gradient).norm() / gradient.norm()).item(),
            "capsule_changes": (other_activated != activated).float().mean().item(),
            **speed(model, there, precision, steps),
        }
        found |= {f"{precision}_{figure}": value for figure, value in figures.items()}
    return found


def too_far(found: dict[str, Any]) -> list[str]:
    """The errors that are larger than promised."""
    return [name for name, allowed in ALLOWED.items() if not found.get(name, 0.0) <= allowed]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    result: dict[str, Any] = {"device": None}
    bad: list[str] = []
    if torch.cuda.is_available():
        found = measure(torch.device("cuda"), options.batch, options.steps)
        bad = too_far(found)
        result = {
            "device": torch.cuda.get_device_name(),
            "batch": options.batch,
            **found,
            "machine": harness.machine(),
        }
    rows = [(k, f"{v:.4g}" if isinstance(v, float) else str(v)) for k, v in result.items()]
    if result["device"] is None:
        rows = [("device", "none: torch finds no GPU on this machine, nothing was measured")]
    harness.show("GPU", rows, result if options.json else None)
    for name in bad:
        print(f"{name} is larger than promised", file=sys.stderr)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
