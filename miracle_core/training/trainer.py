"""The training loop: reads from top to bottom as one epoch after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from miracle_core.config import Settings
from miracle_core.data.dataset import SPLITS, Dataset
from miracle_core.data.packed import Packed, pack
from miracle_core.errors import InputError, MiracleError
from miracle_core.evaluation.evaluate import Evaluation, evaluate
from miracle_core.evaluation.metrics import DEFAULT_KS
from miracle_core.evaluation.scorers import MiracleScorer
from miracle_core.model.miracle import Miracle
from miracle_core.training.checkpoint import Position, load_checkpoint, save_checkpoint
from miracle_core.training.listeners import Listener
from miracle_core.training.model_card import write_model_card
from miracle_core.training.run_folder import (
    RunFolder,
    build_model,
    data_hash,
    load_tensors,
    load_weights,
    save_tensors,
    text_vectors,
)

CHECKPOINT_SECONDS = 60.0
REPORT_STEPS = 5


def finetune(
    settings: Settings,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    listeners: Sequence[Listener] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train a model on one Dataset (section 3.4.4) and leave a run folder.

    Args:
        settings: the whole run; ``settings.data`` names the Dataset.
        out: the run folder.
        resume: go on where the run in ``out`` stopped; its own settings hold.
        overwrite: replace a run that is in ``out`` already.
        listeners: told how it goes.
        should_stop: asked after each step; true saves a checkpoint and ends.

    Returns:
        What ``result.json`` holds.

    Raises:
        InputError: no such Dataset or features, or ``out`` is taken.
        MiracleError: the loss is no longer finite.
    """
    folder = RunFolder(Path(out))
    if resume:
        settings = folder.settings()
        training = Finetuning(settings, folder, folder.dataset())
        if folder.state.is_file():
            training.restore()
    else:
        folder.check_free(overwrite=overwrite)
        dataset = Dataset.open(settings.data)
        settings = settings.model_copy(
            update={
                "data": str(Path(settings.data).resolve()),
                "encoder": dataset.feature_set(settings.encoder or None).encoder.name,
            }
        )
        # Whatever is wrong with the data shows here, before anything is written.
        training = Finetuning(settings, folder, dataset)
        folder.create(settings, dataset, overwrite=overwrite)
    return training.run(listeners, should_stop)


@dataclass(frozen=True)
class Batch:
    """Some training examples.

    Attributes:
        packed: their histories.
        targets: int64 [histories], the item each took next, in packed order.
    """

    packed: Packed
    targets: Tensor


class Finetuning:
    """One training run over one Dataset.

    Args:
        settings: the whole run.
        folder: where it is kept.
        dataset: what it learns from.
    """

    def __init__(self, settings: Settings, folder: RunFolder, dataset: Dataset) -> None:
        self.settings = settings
        self.folder = folder
        self.dataset = dataset
        self.examples = dataset.examples("train")
        for split in SPLITS:
            if not len(dataset.examples(split)):
                raise InputError(
                    f"has no example in its {split} part: its users have too few interactions",
                    where=str(dataset.folder),
                    remedy="preprocess it to keep longer histories, or split it otherwise",
                )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(settings.train.seed)
        self.model: Miracle = build_model(settings, dataset).to(self.device)
        raw = text_vectors(dataset, settings.encoder or None)
        self.text = self.model.scaled_text(raw.to(self.device))
        train = settings.train
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=train.learning_rate,
            weight_decay=train.weight_decay,
            fused=True,
        )
        self.position = Position(
            used=[0] * settings.model.capsules, data=data_hash(settings, dataset)
        )
        self.ks = sorted({*DEFAULT_KS, settings.metric_k})
        self.steps_per_epoch = -(-len(self.examples) // train.batch_size)

    def restore(self) -> None:
        """Go back to the last checkpoint.

        Raises:
            InputError: the checkpoint is damaged or the Dataset is another.
        """
        position = load_checkpoint(self.folder.state, self.model, self.optimiser)
        if len(position.used) != self.settings.model.capsules:
            raise InputError("is a checkpoint of other settings", where=str(self.folder.state))
        if position.data != self.position.data:
            raise InputError(
                "the run's data has changed since its checkpoint",
                where=str(self.folder.data),
                remedy="train again into another folder",
            )
        self.position = position
        done = [r for r in self.folder.history() if r["epoch"] <= position.epoch]
        self.folder.write_history(done)

    def run(self, listeners: Sequence[Listener], should_stop: Callable[[], bool]) -> dict[str, Any]:
        """Train until the epochs are done, validation stops rising, or ``should_stop``."""
        train, position = self.settings.train, self.position
        for listener in listeners:
            listener.start(train.epochs, self.steps_per_epoch, len(self.examples))
        started = time.perf_counter() - position.seconds
        status = "finished"
        while position.epoch < train.epochs:
            if position.epoch - position.best_epoch >= train.patience:
                status = "stopped early"
                break
            complete = self.train_epoch(listeners, should_stop, started)
            if not complete:
                status = "interrupted"
                break
            for listener in listeners:
                listener.validating(position.epoch + 1)
            record = self.validate(started)
            for listener in listeners:
                listener.epoch(record)
        if status != "interrupted":
            for listener in listeners:
                listener.testing()
        result = self.finish(status, time.perf_counter() - started)
        for listener in listeners:
            listener.end(status)
        return result

    def train_epoch(
        self, listeners: Sequence[Listener], should_stop: Callable[[], bool], started: float
    ) -> bool:
        """The rest of one epoch; false if it was asked to stop (a checkpoint is then saved)."""
        position, train = self.position, self.settings.train
        epoch = position.epoch + 1
        order = np.random.default_rng([train.seed, epoch]).permutation(len(self.examples))
        saved = begun = time.perf_counter()
        first = position.step
        self.model.train()
        while position.step < self.steps_per_epoch:
            chosen = order[position.step * train.batch_size :][: train.batch_size]
            self.step(self.batch(chosen))
            position.step += 1
            now = time.perf_counter()
            if position.step % REPORT_STEPS == 0 or position.step == self.steps_per_epoch:
                done = min(position.step * train.batch_size, len(self.examples))
                speed = (done - first * train.batch_size) / (now - begun)
                for listener in listeners:
                    listener.step(epoch, position.step, self.report(speed))
            stop = should_stop()
            if stop or now - saved > CHECKPOINT_SECONDS:
                position.seconds = now - started
                self.save()
                saved = now
            if stop:
                return False
        return True

    def batch(self, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> Batch:
        """Gather examples by number."""
        users, positions = self.examples.users[chosen], self.examples.positions[chosen]
        packed = pack(
            self.dataset.sequences,
            np.asarray(self.dataset.offsets[users]),
            positions,
            self.settings.model.max_length,
        )
        targets = np.asarray(self.dataset.sequences[positions], dtype=np.int64)
        ordered = torch.from_numpy(targets)[packed.order]
        return Batch(packed.to(self.device), ordered.to(self.device, non_blocking=True))

    def step(self, batch: Batch) -> None:
        """One step of the optimiser on one batch (eq. 24).

        Raises:
            MiracleError: the loss is not finite.
        """
        losses = self.model.finetune_losses(
            self.text, batch.packed, batch.targets, self.settings.loss
        )
        if not torch.isfinite(losses.total):
            raise MiracleError(
                f"the loss is not finite in epoch {self.position.epoch + 1}",
                remedy="lower the learning rate; the last checkpoint is whole",
            )
        self.optimiser.zero_grad(set_to_none=True)
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.train.clip)
        self.optimiser.step()
        sums, n = self.position.sums, batch.packed.n_histories
        for name, term in {"loss": losses.total, **losses.terms}.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach()) * n
        sums["examples"] = sums.get("examples", 0.0) + n
        used = torch.bincount(losses.activated, minlength=len(self.position.used)).tolist()
        self.position.used = [a + b for a, b in zip(self.position.used, used, strict=True)]

    def report(self, examples_per_second: float) -> dict[str, float]:
        """Mean loss terms of the epoch under way, capsules in use, speed."""
        sums = dict(self.position.sums)
        n = sums.pop("examples")
        return {
            **{name: total / n for name, total in sums.items()},
            "capsules_in_use": float(sum(count > 0 for count in self.position.used)),
            "examples_per_second": examples_per_second,
        }

    def validate(self, started: float) -> dict[str, Any]:
        """End an epoch: validate, keep the best weights, write the record and a checkpoint."""
        position, settings = self.position, self.settings
        found = evaluate(MiracleScorer(self.model, self.text), self.dataset, "valid", ks=self.ks)
        seconds = time.perf_counter() - started
        train_means = self.report(0.0)
        train_means.pop("examples_per_second")
        value = found.metrics[settings.train.metric]
        position.epoch += 1
        better = value > position.best
        if better:
            position.best, position.best_epoch = value, position.epoch
            save_tensors(
                self.folder.weights,
                self.model.state_dict(),
                {"epoch": str(position.epoch), "data": position.data},
            )
        record = {
            "epoch": position.epoch,
            "step": position.epoch * self.steps_per_epoch,
            "train": {k: v for k, v in train_means.items() if k != "capsules_in_use"},
            "valid": found.metrics,
            "capsules": capsule_figures(found),
            "best": better,
            "seconds": seconds,
        }
        position.step, position.sums, position.seconds = 0, {}, seconds
        position.used = [0] * settings.model.capsules
        self.folder.write_history([*self.folder.history(), record])
        self.save()
        return record

    def save(self) -> None:
        """Write a checkpoint."""
        save_checkpoint(self.folder.state, self.model, self.optimiser, self.position)

    def finish(self, status: str, seconds: float) -> dict[str, Any]:
        """Write ``result.json`` and the model card; an ended run is tested on its best weights."""
        position = self.position
        result: dict[str, Any] = {
            "status": status,
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.manifest.fingerprint,
            "mode": self.settings.train.mode,
            "epochs": position.epoch,
            "best_epoch": position.best_epoch,
            "metric": self.settings.train.metric,
            "seconds": seconds,
        }
        best = [r for r in self.folder.history() if r["epoch"] == position.best_epoch]
        if best:
            result["valid"] = best[0]["valid"]
        if status != "interrupted":
            weights, _ = load_tensors(self.folder.weights)
            load_weights(self.model, weights, where=str(self.folder.weights))
            found = evaluate(MiracleScorer(self.model, self.text), self.dataset, "test", ks=self.ks)
            result["test"] = found.metrics
            result["capsules"] = capsule_figures(found)
        self.folder.write_result(result)
        write_model_card(self.folder, self.settings, self.dataset, result)
        return result


def capsule_figures(found: Evaluation) -> dict[str, float]:
    """How many capsules are in use, and how many a user activates on average."""
    return {
        "in_use": int((found.capsule_users > 0).sum()),
        "per_user": float(found.active.mean()),
    }
