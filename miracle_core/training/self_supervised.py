"""Self-supervised pre-training on one Dataset: parts of its sequences predict other parts.

It is for systems that know items one by one. What they learn is about this catalogue, and they rank
nothing before they are fine-tuned on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from miracle_core.config import Settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.examples import Examples
from miracle_core.processes import Processes
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import (
    attribute_counts,
    build_system,
    check_needs,
    data_hash,
    item_side,
    origin_of,
    sizes_of,
)
from miracle_core.systems.base import Batch, Objective
from miracle_core.training.feeding import Ahead, Resident, Taken, feed
from miracle_core.training.listeners import Listener
from miracle_core.training.model_card import write_model_card
from miracle_core.training.trainer import Training, Validation

# A validation draws what it hides by this epoch's number: the same each time, and no epoch of the
# training, which counts from 1.
VALIDATION = 0


class SelfSupervised(Training):
    """One such pre-training, validated by its own loss on the validation part.

    Args:
        settings: the whole run.
        folder: where it is kept.
        dataset: what it learns from.
        processes: those that train together.

    Raises:
        InputError: the Dataset lacks what the system needs, or examples.
    """

    def __init__(
        self, settings: Settings, folder: RunFolder, dataset: Dataset, processes: Processes
    ) -> None:
        self.dataset = dataset
        check_needs(settings.spec, dataset)
        dataset.require_examples("train", "valid")
        torch.manual_seed(settings.train.seed)
        self.examples = dataset.examples("train")
        super().__init__(
            settings,
            folder,
            build_system(settings, sizes_of(settings, dataset)),
            origin_of(settings, dataset),
            data_hash(settings, dataset),
            len(self.examples),
            processes,
        )
        self.items = item_side(
            self.system, settings.spec, dataset, settings.encoder or None, self.device
        )
        self.batches = self._fed(self.examples)

    def objective(self, chosen: npt.NDArray[np.int64], processes: Processes) -> Objective:
        """The system's pre-training objective on some training examples."""
        return self._asked(self.batches, chosen, self.position.epoch + 1, processes)

    def _fed(self, examples: Examples) -> Resident | Ahead[Taken]:
        return feed(self.dataset, examples, self.system.max_length, self.device, padded=self.padded)

    def _asked(
        self,
        batches: Resident | Ahead[Taken],
        chosen: npt.NDArray[np.int64],
        epoch: int,
        processes: Processes,
    ) -> Objective:
        taken = batches.take(chosen).to(self.device)
        stream = self.settings.train.seed, epoch
        batch = Batch(taken.packed, taken.targets, taken.examples, stream)
        return self.system.pretrain_objective(self.items, batch, processes)

    @torch.no_grad()
    def validate(self) -> Validation:
        """The loss and its terms on the validation part; the same items are hidden each time."""
        self.system.eval()
        examples, size = self.dataset.examples("valid"), self.settings.train.batch_size
        batches = self._fed(examples)
        names: list[str] = []
        total: Tensor | float = 0.0
        for start in range(0, len(examples), size):
            part = np.arange(start, min(start + size, len(examples)))
            mine, processes, share = self.processes.share(part)
            found = self._asked(batches, mine, VALIDATION, processes)
            terms = {"loss": found.total, **found.terms}
            names = list(terms)
            total = total + torch.stack(list(terms.values())).double() * (len(part) * share)
        assert isinstance(total, Tensor)
        means = self.processes.sum(total) / len(examples)
        return Validation(dict(zip(names, means.tolist(), strict=True)))

    def summary(self) -> dict[str, Any]:
        """The Dataset, its attributes where they are read, and the objectives that ran."""
        records = self.folder.history()
        objectives = [name for name in records[-1]["valid"] if name != "loss"] if records else []
        return {
            "datasets": [self.dataset.name],
            "fingerprints": [self.dataset.manifest.fingerprint],
            "examples": [self.n_examples],
            **attribute_counts(self.settings.spec, self.dataset),
            "objectives": objectives,
        }

    def conclude(self, result: dict[str, Any], listeners: Sequence[Listener]) -> None:
        """Add nothing: the test items belong to the fine-tuning."""

    def write_card(self, result: dict[str, Any]) -> None:
        """Write the model card."""
        write_model_card(self.folder, self.settings, [self.dataset], self.origin.encoder, result)
