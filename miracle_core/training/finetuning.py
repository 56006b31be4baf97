"""Fine-tuning on one Dataset (section 3.4.4), from scratch or from a pre-trained run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from miracle_core.config import Settings
from miracle_core.data.dataset import SPLITS, Dataset, Split
from miracle_core.data.packed import pack
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import Evaluation, evaluate
from miracle_core.evaluation.scorers import MiracleScorer
from miracle_core.model.miracle import Losses
from miracle_core.processes import Processes, processes
from miracle_core.training.listeners import Listener
from miracle_core.training.model_card import write_model_card
from miracle_core.training.origin import Origin
from miracle_core.training.run_folder import RunFolder, build_model, data_hash, text_vectors
from miracle_core.training.tensors import load_tensors, load_weights
from miracle_core.training.trainer import Training, Validation, capsule_figures
from miracle_core.training.transfer import Pretrained, Transfer, freeze


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
        settings: the whole run; ``settings.data`` names the Dataset, ``settings.pretrained`` the
            run it starts from, if any.
        out: the run folder.
        resume: go on where the run in ``out`` stopped; its own settings hold.
        overwrite: replace a run that is in ``out`` already.
        listeners: told how it goes.
        should_stop: asked after each step; true saves a checkpoint and ends.

    Returns:
        What ``result.json`` holds.

    Raises:
        InputError: no such Dataset or features, a pre-trained run that does not fit, or ``out`` is
            taken.
        MiracleError: the loss is no longer finite.
    """
    folder, together = RunFolder(Path(out)), processes()
    if resume:
        settings = folder.settings()
        pretrained = None
        transfer = folder.read_transfer()
        # A checkpoint holds all weights; without one they are taken over again.
        if transfer is not None and not folder.state.is_file():
            pretrained = Pretrained.open(settings.pretrained)
            pretrained.check_unchanged(Transfer.model_validate(transfer))
        training = Finetuning(settings, folder, folder.dataset(), pretrained, together)
        if folder.state.is_file():
            training.restore()
    else:
        together.on_first(lambda: folder.check_free(overwrite=overwrite))
        if settings.datasets:
            raise InputError("these are settings of a pre-training", remedy="use: miracle pretrain")
        dataset = Dataset.open(settings.data)
        pretrained = Pretrained.open(settings.pretrained) if settings.pretrained else None
        settings = _resolved(settings, dataset, pretrained)
        # Whatever is wrong with the data shows here, before anything is written.
        training = Finetuning(settings, folder, dataset, pretrained, together)
        told = None if training.transfer is None else training.transfer.model_dump(mode="json")
        together.on_first(
            lambda: folder.create(settings, dataset, overwrite=overwrite, transfer=told)
        )
        if told is not None and together.first:
            for listener in listeners:
                listener.transferred(told)
    return training.run(listeners, should_stop)


def _resolved(settings: Settings, dataset: Dataset, pretrained: Pretrained | None) -> Settings:
    """The settings with absolute paths and the name of the features that are read."""
    update = {"data": str(Path(settings.data).resolve())}
    if pretrained is None:
        entry = dataset.feature_set(settings.encoder or None)
    else:
        entry = pretrained.origin.features_of(dataset, settings.encoder or None)
        update["pretrained"] = str(Path(settings.pretrained).resolve())
    return settings.model_copy(update={**update, "encoder": entry.encoder.name})


class Finetuning(Training):
    """One fine-tuning.

    Args:
        settings: the whole run.
        folder: where it is kept.
        dataset: what it learns from.
        pretrained: whose weights it starts from, if any.
        processes: those that train together.

    Attributes:
        transfer: what was taken over, None if nothing was (here).
    """

    def __init__(
        self,
        settings: Settings,
        folder: RunFolder,
        dataset: Dataset,
        pretrained: Pretrained | None,
        processes: Processes,
    ) -> None:
        self.dataset = dataset
        self.examples = dataset.examples("train")
        dataset.require_examples(*SPLITS)
        torch.manual_seed(settings.train.seed)
        model = build_model(settings, dataset)
        self.transfer = None if pretrained is None else pretrained.load_into(model, settings)
        if settings.train.freeze:
            freeze(model)
        encoder = dataset.feature_set(settings.encoder or None).encoder
        super().__init__(
            settings,
            folder,
            model,
            Origin.of([dataset], encoder),
            data_hash(settings, dataset),
            len(self.examples),
            processes,
        )
        raw = text_vectors(dataset, settings.encoder or None)
        self.text = self.model.scaled_text(raw.to(self.device))
        self.among = _competing(dataset)
        if self.among is not None:
            self.among = self.among.to(self.device)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Every example once, shuffled."""
        rng = np.random.default_rng([self.settings.train.seed, epoch])
        return rng.permutation(len(self.examples))

    def losses(self, chosen: npt.NDArray[np.int64], processes: Processes) -> Losses:
        """Eq. 23-24: every item of the catalogue is a candidate, but for unsold ones."""
        users, positions = self.examples.users[chosen], self.examples.positions[chosen]
        packed = pack(
            self.dataset.sequences,
            np.asarray(self.dataset.offsets[users]),
            positions,
            self.settings.model.max_length,
        )
        targets = np.asarray(self.dataset.sequences[positions], dtype=np.int64)
        ordered = torch.from_numpy(targets)[packed.order]
        return self.model.finetune_losses(
            self.text,
            packed.to(self.device),
            ordered.to(self.device, non_blocking=True),
            self.settings.loss,
            processes,
            self.among,
        )

    def validate(self) -> Validation:
        """Full ranking of the validation items."""
        found = self._evaluate("valid")
        return Validation(found.metrics, capsule_figures(found))

    def _evaluate(self, split: Split) -> Evaluation:
        return evaluate(
            MiracleScorer(self.model, self.text),
            self.dataset,
            split,
            ks=self.ks,
            processes=self.processes,
        )

    def summary(self) -> dict[str, Any]:
        """Dataset and mode, and what was taken over."""
        transfer = self.folder.read_transfer()
        return {
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.manifest.fingerprint,
            "mode": self.settings.train.mode,
            **({} if transfer is None else {"transfer": transfer}),
        }

    def conclude(self, result: dict[str, Any], listeners: Sequence[Listener]) -> None:
        """Test the best weights."""
        for listener in listeners:
            listener.testing()
        weights, _ = load_tensors(self.folder.weights)
        load_weights(self.model, weights, where=str(self.folder.weights))
        found = self._evaluate("test")
        result["test"] = found.metrics
        result["capsules"] = capsule_figures(found)

    def write_card(self, result: dict[str, Any]) -> None:
        """Write the model card."""
        write_model_card(self.folder, self.settings, [self.dataset], self.origin.encoder, result)


def _competing(dataset: Dataset) -> torch.Tensor | None:
    """The items that compete in the loss, int64, rising; None for all.

    An item that is never a target, but a negative in every step, is learned to be nobody's. Where
    unsold items are kept, which is done so that they are recommended, they are left out of it.
    """
    if not dataset.manifest.settings.get("keep_unsold"):
        return None
    return torch.from_numpy(np.flatnonzero(dataset.training_counts()))
