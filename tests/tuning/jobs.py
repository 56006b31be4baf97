"""Jobs that the tests of studies run in separate processes (see ``tests/support/warm.py``)."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import optuna.samplers  # noqa: F401  (here, so that forks need not)
import torch
import torch._dynamo  # the first optimiser imports this; import it here, so that forks need not

from miracle_core.config import Settings, make_settings, nested
from miracle_core.files import write_json
from miracle_core.training.finetuning import finetune
from miracle_core.training.listeners import Listener
from miracle_core.tuning.study import Train, tune
from tests.support.killed import killed

torch.set_num_threads(1)
SMALL = {"model.width": 8, "model.inner": 8, "train.epochs": 2, "train.batch_size": 8}


def small(data: str | Path, **changes: Any) -> Settings:
    """A tiny SASRec; ``changes`` are given as in ``model__layers=1``."""
    given = {name.replace("__", "."): value for name, value in changes.items()}
    return make_settings(nested({"model.kind": "sasrec", "data": str(data), **SMALL, **given}))


def search(data: str | Path, out: str | Path, trials: int, **more: Any) -> dict[str, Any]:
    """A study of the tiny SASRec."""
    return tune(small(data), out, trials, fixed=list(SMALL), **more)


def pretend(settings: Settings, folder: Path, resume: bool) -> dict[str, Any]:
    """Replace training by a function of the settings that takes no time."""
    value = settings.train.learning_rate * 10 + settings.model.dropout  # type: ignore[attr-defined]
    result = {"status": "finished", "valid": {"recall@10": value}, "epochs": 1, "best_epoch": 1}
    write_json(folder / "result.json", result)
    return result


def kill_in_trial(data: str, out: str, trial: str, when: str) -> None:
    """Run a study that is killed in a trial: at its start, after its first epoch, or at its end."""

    class Killer(Listener):
        def epoch(self, record: dict[str, Any]) -> None:
            if when == "epoch":
                os.kill(os.getpid(), signal.SIGKILL)

    def train(settings: Settings, folder: Path, resume: bool) -> dict[str, Any]:
        mine = folder.name == trial
        if mine and when == "start":
            os.kill(os.getpid(), signal.SIGKILL)
        result = finetune(settings, folder, resume=resume, listeners=[Killer()] if mine else [])
        if mine and when == "end":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    search(data, out, 4, train=train)


def kill_at(data: str, out: str, at: int, counted: str) -> None:
    """Run a study with replaced trainings that is killed before one of its system calls."""
    killed(lambda: search(data, out, 4, train=pretend), at, counted)


def share(data: str, out: str, log: str) -> None:
    """Run a study together with other processes, and log which process trains each trial."""
    for name in ("WORLD_SIZE", "RANK"):  # these processes do not share one training
        os.environ.pop(name)

    def logged(train: Train) -> Train:
        def one(settings: Settings, folder: Path, resume: bool) -> dict[str, Any]:
            with Path(log).open("a") as file:
                file.write(f"{folder.name} {resume}\n")
            return train(settings, folder, resume)

        return one

    search(data, out, 8, train=logged(lambda own, path, again: finetune(own, path, resume=again)))
