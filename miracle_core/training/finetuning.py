"""Training on one Dataset (section 3.4.4), from scratch or from a pre-trained run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from miracle_core.config import Settings
from miracle_core.data.dataset import Dataset, Split
from miracle_core.data.examples import Examples, picked
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import Evaluation, evaluate
from miracle_core.paths import as_path
from miracle_core.processes import Processes, processes
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import (
    attribute_counts,
    build_system,
    check_needs,
    count_cooccurrence,
    data_hash,
    item_side,
    origin_of,
    sizes_of,
)
from miracle_core.runs.tensors import load_tensors, load_weights
from miracle_core.runs.writing import writing
from miracle_core.systems.base import Batch, Objective
from miracle_core.training.feeding import feed
from miracle_core.training.fitting import fit, read_parts, test_looked_at
from miracle_core.training.listeners import Listener
from miracle_core.training.model_card import write_model_card
from miracle_core.training.trainer import Training, Validation
from miracle_core.training.transfer import Pretrained, Transfer, check_catalogue, freeze


def finetune(
    settings: Settings,
    out: str | Path,
    *,
    examples: Examples | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listeners: Sequence[Listener] = (),
    should_stop: Callable[[], bool] = lambda: False,
    start: Pretrained | None = None,
) -> dict[str, Any]:
    """Train a model on one Dataset (section 3.4.4) and leave a run folder.

    Args:
        settings: the whole run; ``settings.data`` names the Dataset, ``settings.pretrained`` the
            run it starts from, if any.
        out: the run folder.
        examples: the training examples that are learned from, some of ``dataset.examples("train")``
            (or of its windows, for a system that learns from sequences); None for all. A run that
            goes on keeps its own.
        resume: go on where the run in ``out`` stopped; its own settings hold.
        overwrite: replace a run that is in ``out`` already.
        listeners: called as the training goes on.
        should_stop: called after each step; true saves a checkpoint and ends the training.
        start: the run that it starts from, if ``settings.pretrained`` does not name it
            (:mod:`miracle_core.training.update`).

    Returns:
        What ``result.json`` holds.

    Raises:
        InputError: no such Dataset or features, a pre-trained run that does not fit, examples that
            are not the Dataset's or that the system can't be restricted to, ``out`` is taken, or
            another training is writing to it.
        MiracleError: the loss is no longer finite.
    """
    folder = RunFolder(as_path(out))
    together = processes(settings.train.devices, "train.devices")
    with writing(folder, together):
        return _finetune(
            settings, folder, together, resume, overwrite, listeners, should_stop, examples, start
        )


def _finetune(
    settings: Settings,
    folder: RunFolder,
    together: Processes,
    resume: bool,
    overwrite: bool,
    listeners: Sequence[Listener],
    should_stop: Callable[[], bool],
    examples: Examples | None,
    start: Pretrained | None,
) -> dict[str, Any]:
    if resume and examples is not None:
        raise InputError(
            "a run that goes on keeps the examples that it was begun with",
            where="examples",
            remedy="leave them out",
        )
    spec = (folder.settings() if resume else settings).spec
    if "fit" in spec.stages:
        if examples is not None:
            raise InputError(
                f"{spec.name} is fitted to the whole training part",
                where="examples",
                remedy="leave them out",
            )
        return fit(settings, folder, together, resume=resume, overwrite=overwrite)
    if resume:
        settings = folder.settings()
        pretrained = None
        transfer = folder.read_transfer()
        # A checkpoint holds all weights; without one they are taken over again.
        if transfer is not None and not folder.state.is_file():
            if not settings.pretrained:
                raise InputError(
                    "its update was stopped before its first checkpoint",
                    where=str(folder.path),
                    remedy="begin again: miracle update --overwrite",
                )
            pretrained = Pretrained.open(settings.pretrained)
            pretrained.check_unchanged(Transfer.model_validate(transfer))
        kept = folder.read_examples()
        training = Finetuning(settings, folder, folder.dataset(), pretrained, together, kept)
        if folder.state.is_file():
            training.restore()
    else:
        together.on_first(lambda: folder.check_free(overwrite=overwrite))
        if settings.datasets:
            raise InputError("these are settings of a pre-training", remedy="use: miracle pretrain")
        dataset = Dataset.open(settings.data)
        check_needs(settings.spec, dataset)
        pretrained = start
        if settings.pretrained:
            pretrained = Pretrained.open(settings.pretrained)
            check_catalogue(settings.spec, pretrained.origin, dataset)
        settings = resolved(settings, dataset, pretrained)
        # Whatever is wrong with the data shows here, before anything is written.
        positions = None if examples is None else examples.positions
        training = Finetuning(settings, folder, dataset, pretrained, together, positions)
        told = None if training.transfer is None else training.transfer.model_dump(mode="json")
        together.on_first(
            lambda: folder.create(
                settings, dataset, overwrite=overwrite, transfer=told, examples=positions
            )
        )
        if told is not None and together.first:
            for listener in listeners:
                listener.transferred(told)
    return training.run(listeners, should_stop)


def resolved(settings: Settings, dataset: Dataset, pretrained: Pretrained | None) -> Settings:
    """The settings with absolute paths and the name of the features that are read, if any are."""
    update = {"data": str(as_path(settings.data).resolve()), "encoder": ""}
    if settings.pretrained:
        update["pretrained"] = str(as_path(settings.pretrained).resolve())
    if "text" in settings.spec.needs:
        given = settings.encoder or None
        if pretrained is None:
            entry = dataset.feature_set(given)
        else:
            entry = pretrained.origin.features_of(dataset, given)
        update["encoder"] = entry.encoder.name
    return settings.model_copy(update=update)


class Finetuning(Training):
    """One fine-tuning.

    Args:
        settings: the whole run.
        folder: where it is kept.
        dataset: what it learns from.
        pretrained: whose weights it starts from, if any.
        processes: those that train together.
        positions: int64 [examples], the targets of the training examples that are learned from, as
            positions in the sequences; None for all.

    Attributes:
        examples: what is learned from.
        n_every: how many training examples the Dataset has.
        part: whether the caller named the examples that are learned from.
        transfer: what was taken over; None if nothing was, or if a checkpoint is loaded instead.

    Raises:
        InputError: the Dataset lacks examples, or ``positions`` are not its examples; the
            pre-trained run does not fit; or more negatives are asked for than there are items.
    """

    def __init__(
        self,
        settings: Settings,
        folder: RunFolder,
        dataset: Dataset,
        pretrained: Pretrained | None,
        processes: Processes,
        positions: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.dataset = dataset
        dataset.require_examples(*read_parts(settings))
        torch.manual_seed(settings.train.seed)
        system = build_system(settings, sizes_of(settings, dataset))
        self.examples = dataset.examples("train")
        if system.examples == "sequences":
            self.examples = dataset.windows(system.max_length)
        self.n_every = len(self.examples)
        self.part = positions is not None
        if positions is not None:
            self.examples = picked(self.examples, positions)
        self.transfer = None if pretrained is None else pretrained.load_into(system, settings)
        count_cooccurrence(system, settings, dataset)
        if settings.train.freeze:
            freeze(system)
        super().__init__(
            settings,
            folder,
            system,
            origin_of(settings, dataset),
            data_hash(settings, dataset, positions),
            len(self.examples),
            processes,
        )
        self.items = item_side(
            self.system, settings.spec, dataset, settings.encoder or None, self.device
        )
        self.batches = feed(
            dataset, self.examples, self.system.max_length, self.device, padded=self.padded
        )
        competing = _competing(dataset)
        self.among = None if competing is None else competing.to(self.device)
        if settings.loss.recommendation != "softmax":
            _check_negatives(settings.loss.negatives, dataset, competing)

    def objective(self, chosen: npt.NDArray[np.int64], processes: Processes) -> Objective:
        """Every item of the catalogue is a candidate (eq. 23-24), except unsold ones."""
        taken = self.batches.take(chosen).to(self.device)
        batch = Batch(
            taken.packed,
            taken.targets,
            taken.examples,
            (self.settings.train.seed, self.position.epoch + 1),
            among=self.among,
        )
        return self.system.objective(self.items, batch, processes)

    def validate(self) -> Validation:
        """Full ranking of the validation items."""
        found = self._evaluate("valid")
        return Validation(found.metrics, found.figures())

    def _evaluate(self, split: Split) -> Evaluation:
        return evaluate(
            self.system.scorer(self.items),
            self.dataset,
            split,
            ks=self.ks,
            leave_out=self.settings.seen == "leave-out",
            processes=self.processes,
        )

    def summary(self) -> dict[str, Any]:
        """Dataset and mode, and what was taken over."""
        transfer = self.folder.read_transfer()
        return {
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.manifest.fingerprint,
            "mode": self.settings.train.mode,
            **attribute_counts(self.settings.spec, self.dataset),
            **({} if transfer is None else {"transfer": transfer}),
            **self._part(),
        }

    def _part(self) -> dict[str, Any]:
        """How many training examples were learned from, where only some were named."""
        if not self.part:
            return {}
        return {"few_examples": {"learned": len(self.examples), "of": self.n_every}}

    def conclude(self, result: dict[str, Any], listeners: Sequence[Listener]) -> None:
        """Test the best weights, if ``train.test`` says so."""
        if not self.settings.train.test:
            records = self.folder.history()
            best = [each for each in records if each["epoch"] == self.position.best_epoch]
            if best:
                result["figures"] = best[0]["figures"]
            return
        for listener in listeners:
            listener.testing()
        weights, _ = load_tensors(self.folder.weights)
        load_weights(self.system, weights, where=str(self.folder.weights))
        found = self._evaluate("test")
        self.processes.on_first(lambda: test_looked_at(self.folder, self.settings, self.dataset))
        result["test"] = found.metrics
        result["figures"] = found.figures()

    def write_card(self, result: dict[str, Any]) -> None:
        """Write the model card."""
        write_model_card(self.folder, self.settings, [self.dataset], self.origin.encoder, result)


def _check_negatives(negatives: int, dataset: Dataset, competing: torch.Tensor | None) -> None:
    """Refuse to draw more negatives than there are other items.

    Raises:
        InputError: there are fewer.
    """
    most = (dataset.n_items if competing is None else len(competing)) - 1
    if negatives > most:
        raise InputError(
            f"{negatives} negatives are more than the {most} items that can be one",
            where=f"{dataset.folder}: loss.negatives",
            remedy=f"set loss.negatives to {most} or less"
            if most
            else "take loss.recommendation softmax",
        )


def _competing(dataset: Dataset) -> torch.Tensor | None:
    """The items that compete in the loss, int64, rising; None for all.

    An item that is never a target but a negative in every step would get low scores for everybody.
    A Dataset keeps unsold items so that they can be recommended, so they are left out of the loss.
    """
    if not dataset.manifest.settings.get("keep_unsold"):
        return None
    return torch.from_numpy(np.flatnonzero(dataset.training_counts()))
