"""Pre-training over several Datasets (section 3.4.1-3.4.3)."""

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
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import Evaluation, evaluate
from miracle_core.evaluation.scorers import MiracleScorer
from miracle_core.model.masking import draw_mask
from miracle_core.model.miracle import Losses
from miracle_core.processes import Processes, processes
from miracle_core.training.listeners import Listener
from miracle_core.training.model_card import write_model_card
from miracle_core.training.origin import Origin
from miracle_core.training.run_folder import RunFolder, build_pretraining_model, text_vectors
from miracle_core.training.trainer import Training, Validation, capsule_figures


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

    Args:
        settings: the whole run; ``settings.datasets`` names the Datasets.
        out: the run folder.
        resume: go on where the run in ``out`` stopped; its own settings hold, and the Datasets must
            be where they were.
        overwrite: replace a run that is in ``out`` already.
        listeners: told how it goes.
        should_stop: asked after each step; true saves a checkpoint and ends.

    Returns:
        What ``result.json`` holds.

    Raises:
        InputError: no such Dataset or features, one Dataset twice, features of different encoders,
            or ``out`` is taken.
        MiracleError: the loss is no longer finite.
    """
    folder, together = RunFolder(Path(out)), processes()
    if resume:
        settings = folder.settings()
        _check(settings)
        corpus = Corpus.open(settings.datasets, settings.encoder or None)
        training = Pretraining(settings, folder, corpus, together)
        if folder.state.is_file():
            training.restore()
    else:
        together.on_first(lambda: folder.check_free(overwrite=overwrite))
        _check(settings)
        corpus = Corpus.open(settings.datasets, settings.encoder or None)
        settings = settings.model_copy(
            update={
                "datasets": [str(Path(each).resolve()) for each in settings.datasets],
                "encoder": corpus.encoder.name,
            }
        )
        training = Pretraining(settings, folder, corpus, together)
        together.on_first(lambda: folder.create(settings, None, overwrite=overwrite))
    return training.run(listeners, should_stop)


def _check(settings: Settings) -> None:
    if not settings.datasets:
        raise InputError("these are not pre-training settings", remedy="use: miracle finetune")


class Pretraining(Training):
    """One pre-training.

    Args:
        settings: the whole run.
        folder: where it is kept.
        corpus: what it learns from.
        processes: those that train together.
    """

    def __init__(
        self, settings: Settings, folder: RunFolder, corpus: Corpus, processes: Processes
    ) -> None:
        self.corpus = corpus
        torch.manual_seed(settings.train.seed)
        super().__init__(
            settings,
            folder,
            build_pretraining_model(settings, corpus.encoder.width),
            Origin.of(corpus.datasets, corpus.encoder),
            corpus.hash,
            len(corpus),
            processes,
        )
        self.frequencies: Tensor | None = None
        if settings.pretrain.log_q:
            shares = corpus.target_frequencies(settings.pretrain.mix_temperature)
            self.frequencies = torch.from_numpy(shares).to(self.device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The adaptor and the context encoder learn at a rate of their own."""
        train, pretrain = self.settings.train, self.settings.pretrain
        slow = [*self.model.adaptor.parameters(), *self.model.context.parameters()]
        apart = {id(parameter) for parameter in slow}
        return [
            {"params": [p for p in self.model.parameters() if id(p) not in apart]},
            {"params": slow, "lr": train.learning_rate * pretrain.encoder_rate},
        ]

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Domains mixed as ``pretrain.mix_temperature`` says."""
        settings = self.settings
        return self.corpus.order(settings.train.seed, epoch, settings.pretrain.mix_temperature)

    def losses(self, chosen: npt.NDArray[np.int64], processes: Processes) -> Losses:
        """Eq. 15-22: the batch's own targets are the candidates."""
        settings = self.settings
        batch = self.corpus.batch(chosen, settings.model.max_length)
        raw = torch.from_numpy(self.corpus.text(batch.items)).to(self.device).float()
        packed = batch.packed.to(self.device)
        # Without the contrast (section 4.4's "w/o IC") nothing is masked.
        masked = None
        if settings.loss.contrast:
            masked = draw_mask(
                packed, settings.pretrain.mask_probability, settings.pretrain.mask_min_length
            )
        return self.model.pretrain_losses(
            self.model.scaled_text(raw),
            packed,
            torch.from_numpy(batch.targets).to(self.device),
            masked,
            settings.loss,
            torch.from_numpy(batch.items).to(self.device),
            processes,
            self.frequencies,
        )

    def validate(self) -> Validation:
        """Full ranking of each domain's validation items; the mean over domains counts."""
        found = [self._evaluate(domain) for domain in range(len(self.corpus.datasets))]
        metrics = {
            name: float(np.mean([each.metrics[name] for each in found]))
            for name in found[0].metrics
        }
        width = max(len(each.capsule_users) for each in found)
        used = np.zeros(width, dtype=bool)
        for each in found:
            used[: len(each.capsule_users)] |= each.capsule_users > 0
        capsules = {
            "in_use": int(used.sum()),
            "per_user": float(np.mean([capsule_figures(each)["per_user"] for each in found])),
        }
        domains = {name: each.metrics for name, each in zip(self.corpus.names, found, strict=True)}
        return Validation(metrics, capsules, {"domains": domains})

    def _evaluate(self, domain: int) -> Evaluation:
        """One domain's text vectors are in memory at a time."""
        dataset = self.corpus.datasets[domain]
        raw = text_vectors(dataset, self.corpus.feature_name(domain)).to(self.device)
        scorer = MiracleScorer(self.model, self.model.scaled_text(raw))
        return evaluate(scorer, dataset, "valid", ks=self.ks, processes=self.processes)

    def summary(self) -> dict[str, Any]:
        """The Datasets."""
        datasets = self.corpus.datasets
        return {
            "datasets": self.corpus.names,
            "fingerprints": [dataset.manifest.fingerprint for dataset in datasets],
            "examples": self.corpus.sizes,
        }

    def conclude(self, result: dict[str, Any], listeners: Sequence[Listener]) -> None:
        """Nothing: test items are for what comes after."""

    def write_card(self, result: dict[str, Any]) -> None:
        """Write the model card."""
        write_model_card(
            self.folder, self.settings, self.corpus.datasets, self.corpus.encoder, result
        )
