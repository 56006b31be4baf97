"""The training loop: reads from top to bottom as one epoch after another.

The three kinds of training define the loss of a batch and the validation:
:mod:`miracle_core.training.finetuning`, :mod:`miracle_core.training.pretraining` and
:mod:`miracle_core.training.self_supervised`. With several processes each takes its share of every
step and of every validation. Sums over them keep all processes the same after each step. The first
one writes files and calls the listeners.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from miracle_core.config import Settings
from miracle_core.errors import InputError, MiracleError
from miracle_core.evaluation.metrics import cut_offs
from miracle_core.launches import few_launches
from miracle_core.memory import keep_freed_memory
from miracle_core.processes import Processes
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.origin import Origin
from miracle_core.runs.records import rising
from miracle_core.runs.tensors import save_tensors
from miracle_core.systems.base import Objective, System
from miracle_core.training import devices
from miracle_core.training.checkpoint import Position, load_checkpoint, save_checkpoint
from miracle_core.training.feeding import Ahead, Resident
from miracle_core.training.listeners import Listener
from miracle_core.training.running_mean import RunningMean

CHECKPOINT_SECONDS = 60.0
REPORT_STEPS = 5


@dataclass(frozen=True)
class Learned:
    """The losses and counters of a step, still on its device.

    Attributes:
        names: of the loss and its terms.
        lengths: of each counter, by name.
        values: float64 [names + lengths], each term's sum over the examples of all processes, the
            loss first, and the counters.
        examples: of the step.
    """

    names: list[str]
    lengths: dict[str, int]
    values: Tensor
    examples: int


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes:
        metrics: the metrics, one of which chooses the best epoch.
        figures: other figures that TensorBoard shows as curves, by name.
        more: other entries of the epoch's record.
    """

    metrics: dict[str, float]
    figures: dict[str, float] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


class Training(ABC):
    """One training run: epochs of steps, each epoch validated, every moment resumable.

    Args:
        settings: the whole run.
        folder: where it is kept.
        system: with its first weights.
        origin: what it learns from.
        data: hash of all that training reads.
        n_examples: training examples of an epoch.
        processes: those that train together.

    Attributes:
        batches: where :meth:`objective` takes its batches from; set by the subclass.

    Raises:
        InputError: the device can't do what ``train.precision`` asks.
    """

    batches: Resident | Ahead[Any]

    def __init__(
        self,
        settings: Settings,
        folder: RunFolder,
        system: System,
        origin: Origin,
        data: str,
        n_examples: int,
        processes: Processes,
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.origin = origin
        self.n_examples = n_examples
        self.processes = processes
        self.device = processes.device
        self.system = system.to(self.device)
        self.padded = system.pads(self.device)
        self.unread: list[Learned] = []
        train = settings.train
        devices.check_precision(train.precision, self.device)
        if not processes.first:
            # The weights are the same everywhere; noise and dropout differ between processes.
            own = np.random.default_rng([train.seed, processes.rank])
            torch.manual_seed(int(own.integers(2**63)))
        self.optimiser = torch.optim.AdamW(
            self.parameter_groups(),
            lr=train.learning_rate,
            weight_decay=train.weight_decay,
            fused=True,
        )
        self.mean = RunningMean(self.system, train.average)
        self.scaler = devices.grad_scaler(train.precision, self.device)
        self.position = Position(data=data)
        self.ks = cut_offs(settings.metric_k)
        self.steps_per_epoch = -(-n_examples // train.batch_size)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameter groups; a group may have a learning rate of its own."""
        return [{"params": [p for p in self.system.parameters() if p.requires_grad]}]

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The examples of an epoch in the order they are taken, a function of seed and epoch.

        By default every example once, shuffled.
        """
        rng = np.random.default_rng([self.settings.train.seed, epoch])
        return rng.permutation(self.n_examples)

    @abstractmethod
    def objective(self, chosen: npt.NDArray[np.int64], processes: Processes) -> Objective:
        """The loss of some examples, the system in training mode.

        Args:
            chosen: this process's share.
            processes: those that share the batch.
        """

    @abstractmethod
    def validate(self) -> Validation:
        """Measure the model on the validation part."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What ``result.json`` says of data and method."""

    @abstractmethod
    def conclude(self, result: dict[str, Any], listeners: Sequence[Listener]) -> None:
        """Add to the result of a run that has ended, on its best weights."""

    @abstractmethod
    def write_card(self, result: dict[str, Any]) -> None:
        """Write the model card."""

    def restore(self) -> None:
        """Go back to the last checkpoint.

        Raises:
            InputError: the checkpoint is damaged or the data is other data.
        """
        position = load_checkpoint(
            self.folder.state,
            self.system,
            self.optimiser,
            self.mean,
            self.settings.spec,
            self.processes,
        )
        if position.data != self.position.data:
            raise InputError(
                "the run's data has changed since its checkpoint",
                where=", ".join(self.settings.datasets) or str(self.folder.data),
                remedy="train again into another folder",
            )
        self.position = position
        self.scaler.load_state_dict(position.scaler)
        done = [r for r in self.folder.history() if r["epoch"] <= position.epoch]
        self.processes.on_first(lambda: self.folder.write_history(done))

    def run(self, listeners: Sequence[Listener], should_stop: Callable[[], bool]) -> dict[str, Any]:
        """Train until the epochs are done, validation stops rising, or ``should_stop`` says so.

        Args:
            listeners: called as the training goes on; only the first process calls them.
            should_stop: called after each step; true saves a checkpoint and ends the training.

        Returns:
            What ``result.json`` holds.

        Raises:
            MiracleError: the loss is not finite.
        """
        keep_freed_memory()
        train, position = self.settings.train, self.position
        if not self.processes.first:
            listeners = ()
        for listener in listeners:
            listener.start(train.epochs, self.steps_per_epoch, self.n_examples)
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
            record = self.end_epoch(started)
            for listener in listeners:
                listener.epoch(record)
        result = self.finish(status, started, listeners)
        for listener in listeners:
            listener.end(status)
        return result

    def train_epoch(
        self, listeners: Sequence[Listener], should_stop: Callable[[], bool], started: float
    ) -> bool:
        """The rest of one epoch; false if it was asked to stop (a checkpoint is then saved).

        Args:
            listeners: hear of the steps.
            should_stop: called after each step.
            started: when the training began, by ``time.perf_counter``, minus earlier time spent.
        """
        position, train = self.position, self.settings.train
        epoch = position.epoch + 1
        order = self.order(epoch)
        saved = begun = time.perf_counter()
        first = position.step
        self.system.train()
        while position.step < self.steps_per_epoch:
            here = position.step * train.batch_size
            for part in self.parts(order[here + train.batch_size :][: train.batch_size]):
                self.batches.expect(self.processes.share(part)[0])
            self.step(order[here:][: train.batch_size])
            position.step += 1
            now = time.perf_counter()
            if position.step % REPORT_STEPS == 0 or position.step == self.steps_per_epoch:
                self.collect()
                done = min(position.step * train.batch_size, self.n_examples)
                speed = (done - first * train.batch_size) / (now - begun)
                for listener in listeners:
                    listener.step(epoch, position.step, self.report(speed))
            stop, due = self.processes.any(should_stop(), now - saved > CHECKPOINT_SECONDS)
            if stop or due:
                position.seconds = now - started
                self.save()
                saved = now
            if stop:
                return False
        return True

    def parts(self, chosen: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """A step's examples in ``train.accumulation`` parts."""
        n = len(chosen)
        return np.array_split(chosen, min(self.settings.train.accumulation, n)) if n else []

    def step(self, chosen: npt.NDArray[np.int64]) -> None:
        """One step of the optimiser on some examples.

        Its losses are read later, by :meth:`collect`, so that the host does not wait for the
        device in each step.
        """
        train, n = self.settings.train, len(chosen)
        self.optimiser.zero_grad(set_to_none=True)
        learned = [self.learn(part, len(part) / n) for part in self.parts(chosen)]
        self.processes.sum_gradients(self.system.parameters())
        names, lengths, _ = learned[0]
        values = self.processes.sum(torch.stack([values for _, _, values in learned]).sum(0))
        self.unread.append(Learned(names, lengths, values, n))
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.system.parameters(), train.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.mean.update(self.position.epoch * self.steps_per_epoch + self.position.step + 1)

    def collect(self) -> None:
        """Add the losses and counters of the steps since the last call to the sums of the epoch.

        Raises:
            MiracleError: a loss is not finite; no checkpoint has been written since.
        """
        if not self.unread:
            return
        unread, self.unread = self.unread, []
        sums = self.position.sums
        figures = torch.stack([step.values for step in unread]).tolist()
        for step, found in zip(unread, figures, strict=True):
            if not math.isfinite(found[0]):
                raise MiracleError(
                    f"the loss is not finite in epoch {self.position.epoch + 1}",
                    remedy="lower the learning rate; the last checkpoint is whole",
                )
            for name, value in zip(step.names, found, strict=False):
                sums[name] = sums.get(name, 0.0) + value
            sums["examples"] = sums.get("examples", 0.0) + step.examples
            self.count(step.lengths, found[len(step.names) :])

    def count(self, lengths: dict[str, int], values: list[float]) -> None:
        """Add a step's counters to those of the epoch.

        Args:
            lengths: the length of each counter, by name.
            values: the counters' numbers, end to end.

        Raises:
            InputError: the checkpoint's counters have another length.
        """
        counters = self.position.counters
        for name, length in lengths.items():
            new, values = [round(value) for value in values[:length]], values[length:]
            before = counters.get(name, [0] * length)
            if len(before) != length:
                raise InputError(
                    f"is a checkpoint of other settings: it counts {len(before)} {name}, "
                    f"not {length}",
                    where=str(self.folder.state),
                    remedy="train again: --overwrite",
                )
            counters[name] = [a + b for a, b in zip(before, new, strict=True)]

    def learn(
        self, part: npt.NDArray[np.int64], weight: float
    ) -> tuple[list[str], dict[str, int], Tensor]:
        """Add the gradients of a part of a step's examples to the parameters' gradients.

        Args:
            part: the examples, of all processes together.
            weight: their share of the step's examples.

        Returns:
            The names of the loss and its terms, the length of each counter, and float64 [names +
            lengths]: this process's contributions to each term's sum over the examples, the loss
            first, and to each counter.
        """
        mine, processes, share = self.processes.share(part)
        with few_launches(self.padded):
            with devices.autocast(self.settings.train.precision, self.device):
                found = self.objective(mine, processes)
            self.scaler.scale(found.total * (weight * share)).backward()
        terms = {"loss": found.total, **found.terms}
        # An Apple GPU has no float64.
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        summed = torch.stack([term.detach().to(exact) for term in terms.values()]) * len(part)
        counted = [counter.to(exact) for counter in found.counters.values()]
        lengths = {name: len(counter) for name, counter in found.counters.items()}
        return list(terms), lengths, torch.cat([summed, *counted]) * share

    def report(self, examples_per_second: float) -> dict[str, float]:
        """Mean loss terms of the epoch under way, counters that are in use, speed."""
        used = {
            f"{name}_in_use": float(sum(count > 0 for count in counts))
            for name, counts in self.position.counters.items()
        }
        return {**self.train_means(), **used, "examples_per_second": examples_per_second}

    def train_means(self) -> dict[str, float]:
        """Mean loss terms of the epoch under way."""
        sums = dict(self.position.sums)
        n = sums.pop("examples")
        return {name: total / n for name, total in sums.items()}

    def end_epoch(self, started: float) -> dict[str, Any]:
        """Validate, keep the best weights, write the record and a checkpoint."""
        position, settings = self.position, self.settings
        with self.mean.applied():
            found = self.validate()
            position.epoch += 1
            value = rising(settings.train.metric, found.metrics[settings.train.metric])
            better = value > position.best or not position.best_epoch
            if better:
                position.best, position.best_epoch = value, position.epoch
                weights = self.system.state_dict()
                self.processes.on_first(
                    lambda: save_tensors(self.folder.weights, weights, self.metadata())
                )
        seconds = time.perf_counter() - started
        record = {
            "epoch": position.epoch,
            "step": position.epoch * self.steps_per_epoch,
            "train": self.train_means(),
            "valid": found.metrics,
            **found.more,
            "figures": found.figures,
            "best": better,
            "seconds": seconds,
        }
        position.step, position.sums, position.seconds = 0, {}, seconds
        position.counters = {}
        self.processes.on_first(lambda: self.folder.write_history([*self.folder.history(), record]))
        self.save()
        return record

    def metadata(self) -> dict[str, str]:
        """What a file of weights says of them."""
        position = self.position
        return {
            "kind": self.settings.model.kind,
            "epoch": str(position.epoch),
            "data": position.data,
            **self.origin.metadata(),
        }

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            MiracleError: a loss since the last one is not finite.
        """
        self.collect()
        self.position.scaler = self.scaler.state_dict()
        save_checkpoint(
            self.folder.state,
            self.system,
            self.optimiser,
            self.mean,
            self.position,
            {"kind": self.settings.model.kind, **self.origin.metadata()},
            self.processes,
        )

    def finish(self, status: str, started: float, listeners: Sequence[Listener]) -> dict[str, Any]:
        """Write ``result.json`` and the model card; returns what ``result.json`` holds."""
        position = self.position
        result: dict[str, Any] = {
            "status": status,
            "model": self.settings.model.kind,
            "seen": self.settings.seen,
            **self.summary(),
            "epochs": position.epoch,
            "best_epoch": position.best_epoch,
            "metric": self.settings.train.metric,
            "seconds": time.perf_counter() - started,
        }
        best = [r for r in self.folder.history() if r["epoch"] == position.best_epoch]
        if best:
            result.update({name: best[0][name] for name in ("valid", "domains") if name in best[0]})
        if status != "interrupted":
            self.conclude(result, listeners)
        self.processes.on_first(lambda: self.folder.write_result(result))
        self.processes.on_first(lambda: self.write_card(result))
        return result
