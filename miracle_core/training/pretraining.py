"""Pre-training, over several Datasets (section 3.4.1-3.4.3) or on one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from miracle_core.config import Settings
from miracle_core.data.corpus import Corpus
from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import Evaluation, evaluate, joint_figures
from miracle_core.paths import as_path
from miracle_core.processes import Processes, processes
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import build_system, item_side
from miracle_core.runs.origin import Origin
from miracle_core.runs.writing import writing
from miracle_core.systems.base import Batch, ItemSide, Objective, Sizes
from miracle_core.training.feeding import Ahead, Taken, pinned, sent
from miracle_core.training.listeners import Listener
from miracle_core.training.model_card import write_model_card
from miracle_core.training.self_supervised import SelfSupervised
from miracle_core.training.trainer import Training, Validation


def pretrain(
    settings: Settings,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    listeners: Sequence[Listener] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train a model on several Datasets together and leave a run folder, with no copy of the data.

    A system that knows items one by one is pre-trained on the one Dataset that it is then
    fine-tuned on (:mod:`miracle_core.training.self_supervised`).

    Args:
        settings: the whole run; ``settings.datasets`` names the Datasets.
        out: the run folder.
        resume: go on where the run in ``out`` stopped; its own settings hold, and the Datasets must
            be where they were.
        overwrite: replace a run that is in ``out`` already.
        listeners: called as the training goes on.
        should_stop: called after each step; true saves a checkpoint and ends the training.

    Returns:
        What ``result.json`` holds.

    Raises:
        InputError: no such Dataset or features, one Dataset twice, features of different encoders,
            ``out`` is taken, or another training is writing to it.
        MiracleError: the loss is no longer finite.
    """
    folder = RunFolder(as_path(out))
    together = processes(settings.train.devices, "train.devices")
    with writing(folder, together):
        return _pretrain(settings, folder, together, resume, overwrite, listeners, should_stop)


def _pretrain(
    settings: Settings,
    folder: RunFolder,
    together: Processes,
    resume: bool,
    overwrite: bool,
    listeners: Sequence[Listener],
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    if resume:
        training = begun(folder.settings(), folder, together)
        if folder.state.is_file():
            training.restore()
    else:
        together.on_first(lambda: folder.check_free(overwrite=overwrite))
        training = begun(settings, folder, together)
        together.on_first(lambda: folder.create(training.settings, None, overwrite=overwrite))
    return training.run(listeners, should_stop)


def begun(settings: Settings, folder: RunFolder, together: Processes) -> Training:
    """A pre-training with its data opened; its ``settings`` name them by absolute paths.

    Raises:
        InputError: these are settings of another training, or the data can't be read.
    """
    if not settings.datasets:
        raise InputError("these are not pre-training settings", remedy="use: miracle finetune")
    update: dict[str, Any] = {
        "datasets": [str(as_path(each).resolve()) for each in settings.datasets]
    }
    if not settings.spec.zero_shot:
        dataset = Dataset.open(settings.datasets[0])
        return SelfSupervised(settings.model_copy(update=update), folder, dataset, together)
    corpus = Corpus.open(settings.datasets, settings.encoder or None)
    update["encoder"] = corpus.encoder.name
    return Pretraining(settings.model_copy(update=update), folder, corpus, together)


class Pretraining(Training):
    """One pre-training over several Datasets.

    Args:
        settings: the whole run.
        folder: where it is kept.
        corpus: what it learns from.
        processes: those that train together.
    """

    batches: Ahead[tuple[Taken, Tensor, Tensor]]

    def __init__(
        self, settings: Settings, folder: RunFolder, corpus: Corpus, processes: Processes
    ) -> None:
        self.corpus = corpus
        torch.manual_seed(settings.train.seed)
        super().__init__(
            settings,
            folder,
            build_system(settings, Sizes(None, corpus.encoder.width)),
            Origin.of(corpus.datasets, corpus.encoder),
            corpus.hash,
            len(corpus),
            processes,
        )
        self.batches = Ahead(self._made, thread=self.device.type == "cuda")
        self.frequencies: Tensor | None = None
        if settings.pretrain.log_q:
            shares = corpus.target_frequencies(settings.pretrain.mix_temperature)
            self.frequencies = torch.from_numpy(shares).to(self.device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights that make vectors of text have a learning rate of their own."""
        train, pretrain = self.settings.train, self.settings.pretrain
        named = list(self.system.named_parameters())
        slow = [p for name, p in named if name.startswith(self.system.text_side)]
        rest = [p for name, p in named if not name.startswith(self.system.text_side)]
        rate = train.learning_rate * pretrain.encoder_rate
        return [{"params": rest}, *([{"params": slow, "lr": rate}] if slow else [])]

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Domains mixed as ``pretrain.mix_temperature`` says."""
        settings = self.settings
        return self.corpus.order(settings.train.seed, epoch, settings.pretrain.mix_temperature)

    def objective(self, chosen: npt.NDArray[np.int64], processes: Processes) -> Objective:
        """The batch's own targets are the candidates (eq. 15-22)."""
        taken, numbers, text = self.batches.take(chosen)
        taken = taken.to(self.device)
        batch = Batch(
            taken.packed,
            taken.targets,
            taken.examples,
            (self.settings.train.seed, self.position.epoch + 1),
            self.frequencies,
        )
        raw = sent(text, self.device).float()
        items = ItemSide(self.system.prepared(raw), sent(numbers, self.device))
        return self.system.pretrain_objective(items, batch, processes)

    def _made(self, chosen: npt.NDArray[np.int64]) -> tuple[Taken, Tensor, Tensor]:
        """The examples, and the numbers and text vectors of their items.

        Raises:
            ValueError: the system reads histories of any length.
        """
        longest = self.system.max_length
        if longest is None:
            raise ValueError("a system that is pre-trained reads histories of a fixed length")
        found = self.corpus.batch(chosen, longest, padded=self.padded)
        text = torch.from_numpy(self.corpus.text(found.items))
        taken = Taken(
            found.packed.pinned(self.device),
            pinned(torch.from_numpy(found.targets), self.device),
            pinned(torch.from_numpy(chosen)[found.packed.order], self.device),
        )
        numbers = pinned(torch.from_numpy(found.items), self.device)
        return taken, numbers, pinned(text, self.device)

    def validate(self) -> Validation:
        """Full ranking of each domain's validation items; the mean over domains counts."""
        found = [self._evaluate(domain) for domain in range(len(self.corpus.datasets))]
        metrics = {
            name: float(np.mean([each.metrics[name] for each in found]))
            for name in found[0].metrics
        }
        domains = {name: each.metrics for name, each in zip(self.corpus.names, found, strict=True)}
        return Validation(metrics, joint_figures(found), {"domains": domains})

    def _evaluate(self, domain: int) -> Evaluation:
        """Full ranking of one domain, whose text vectors alone are then in memory."""
        dataset, settings = self.corpus.datasets[domain], self.settings
        name = self.corpus.feature_name(domain)
        items = item_side(self.system, settings.spec, dataset, name, self.device)
        return evaluate(
            self.system.scorer(items),
            dataset,
            "valid",
            ks=self.ks,
            leave_out=settings.seen == "leave-out",
            processes=self.processes,
        )

    def summary(self) -> dict[str, Any]:
        """The Datasets."""
        datasets = self.corpus.datasets
        return {
            "datasets": self.corpus.names,
            "fingerprints": [dataset.manifest.fingerprint for dataset in datasets],
            "examples": self.corpus.sizes,
        }

    def conclude(self, result: dict[str, Any], listeners: Sequence[Listener]) -> None:
        """Add nothing: the test items belong to the fine-tuning."""

    def write_card(self, result: dict[str, Any]) -> None:
        """Write the model card."""
        write_model_card(
            self.folder, self.settings, self.corpus.datasets, self.corpus.encoder, result
        )
