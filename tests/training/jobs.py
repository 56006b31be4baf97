"""Jobs that the tests of kills and of several processes run in separate processes."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch._dynamo  # the first optimiser imports this; import it here, so that forks need not
from safetensors.torch import save_file

from miracle_core.config import load_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.packed import Packed
from miracle_core.errors import InputError, MiracleError
from miracle_core.evaluation import evaluate as evaluation
from miracle_core.processes import processes
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import item_side
from miracle_core.systems.base import System
from miracle_core.systems.miracle import miracle
from miracle_core.training import trainer
from miracle_core.training.finetuning import Finetuning, finetune
from miracle_core.training.pretraining import begun, pretrain
from tests.support.runs import random_model

torch.set_num_threads(1)


def every_third(packed: Packed, *_: Any) -> torch.Tensor:
    """A mask that does not depend on the batch, only on the position; never the newest item."""
    newest = packed.positions.max()
    masked = ((newest - packed.positions) % 3 == 1) & (packed.positions != newest)
    return masked if packed.valid is None else masked & packed.valid


def unlike(model: System, scale: float = 0.3) -> None:
    """Set weights that distinguish histories, the same each time."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.0, scale, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)


def gradients(config: str, out: str, batches: list[list[int]]) -> None:
    """Losses, used capsules and gradients of some batches, without noise and dropout."""
    settings, together = load_settings(Path(config)), processes()
    folder = RunFolder(Path(out))
    training: trainer.Training
    if settings.datasets:
        miracle.draw_mask = every_third  # type: ignore[assignment]
        training = begun(settings, folder, together)
    else:
        training = Finetuning(settings, folder, Dataset.open(settings.data), None, together)
    unlike(training.system)
    training.system.eval()
    found: dict[str, torch.Tensor] = {}
    for number, batch in enumerate(batches):
        training.optimiser.zero_grad(set_to_none=True)
        names, lengths, values = training.learn(np.array(batch), 1.0)
        assert list(lengths) == (
            ["capsules"] if settings.model.kind in ("miracle", "heads") else []
        )
        together.sum_gradients(training.system.parameters())
        values = together.sum(values)
        found |= {f"{number}.{name}": values[i].clone() for i, name in enumerate(names)}
        found[f"{number}.used"] = values[len(names) :].clone()
        for name, parameter in training.system.named_parameters():
            if parameter.grad is not None:
                found[f"{number}.d.{name}"] = parameter.grad.clone()
    together.on_first(lambda: save_file(found, out))


def ranking(config: str, out: str, leave_out: bool) -> None:
    """Run an evaluation; each process writes all arrays that it has."""
    settings, together = load_settings(Path(config)), processes()
    dataset = Dataset.open(settings.data)
    model = random_model(settings, dataset)
    scorer = model.scorer(item_side(model, settings.spec, dataset, settings.encoder))
    evaluation.BATCH_USERS = 3
    found = evaluation.evaluate(
        scorer, dataset, leave_out=leave_out, keep_top=4, processes=together
    )
    arrays = ("users", "targets", "ranks", "active", "capsule_users", "top_items", "top_scores")
    np.savez(
        f"{out}.{together.rank}.npz",
        metrics=np.array(list(found.metrics.values())),
        **{name: getattr(found, name) for name in arrays},
    )


def train(config: str, run: str, mode: str, stops: dict[str, int]) -> int:
    """Train, and stop after this many steps in the named process.

    Returns:
        0, or 3 if it was stopped.
    """
    settings = load_settings(Path(config))
    start = pretrain if settings.datasets else finetune
    stop = stops.get(str(processes().rank), 0)
    asked = iter(range(1, 1_000_000))
    torch.manual_seed(random.randrange(1000))  # whatever the process did before
    result = start(settings, run, resume=mode == "resume", should_stop=lambda: next(asked) == stop)
    return 3 if result["status"] == "interrupted" else 0


def refused(config: str, run: str, out: str) -> None:
    """The message when resuming is refused; all processes must end."""
    try:
        finetune(load_settings(Path(config)), run, resume=True)
    except MiracleError as error:
        kind = "input" if isinstance(error, InputError) else "other"
        Path(f"{out}.{processes().rank}").write_text(f"{kind}: {error.what}")


# The phase of a training, by the function that Python is in.
PHASES = {"save_checkpoint": "checkpoint", "validate": "validation", "step": "batch"}


class Clock:
    """Counts calls of Python and C functions in each phase, and kills at one of them.

    Args:
        phase: ``batch``, ``checkpoint``, ``validation`` or ``between``; empty to only count.
        call: the number of the call in that phase.
        delay: seconds between the call and the kill, so that the kill can also hit C code.
    """

    def __init__(self, phase: str, call: int, delay: float) -> None:
        self.phase, self.call, self.delay = phase, call, delay
        self.counts = dict.fromkeys((*PHASES.values(), "between"), 0)
        self.inside: list[tuple[FrameType, str]] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "return":
            if self.inside and self.inside[-1][0] is frame:
                self.inside.pop()
            return
        if event not in ("call", "c_call"):
            return
        code = frame.f_code
        if (
            event == "call"
            and code.co_name in PHASES
            and "miracle_core/training" in code.co_filename
        ):
            self.inside.append((frame, PHASES[code.co_name]))
        phase = self.inside[-1][1] if self.inside else "between"
        self.counts[phase] += 1
        if phase == self.phase and self.counts[phase] == self.call:
            kill_soon(self.delay)


def kill_soon(delay: float) -> None:
    """Send SIGKILL to this process from another process."""
    victim = os.getpid()
    if os.fork() == 0:
        time.sleep(delay)
        os.kill(victim, signal.SIGKILL)
        os._exit(0)


def train_until(
    config: str, run: str, mode: str, phase: str, call: int, delay: float, counts: str
) -> None:
    """Train with a checkpoint after every step; get killed at a call, or write the counts."""
    trainer.CHECKPOINT_SECONDS = -1.0
    clock = Clock(phase, call, delay)
    sys.setprofile(clock)
    settings = load_settings(Path(config))
    start = pretrain if settings.datasets else finetune
    start(settings, run, resume=mode == "resume")
    sys.setprofile(None)
    Path(counts).write_text(json.dumps(clock.counts))
