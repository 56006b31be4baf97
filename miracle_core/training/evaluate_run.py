"""A run measured: on its own data, or on a catalogue it never saw (zero-shot)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from miracle_core.data.dataset import Dataset, EncoderIdentity, Split
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import Evaluation, evaluate
from miracle_core.evaluation.metrics import DEFAULT_KS
from miracle_core.evaluation.references import Reference, references
from miracle_core.evaluation.scorers import MiracleScorer
from miracle_core.progress import SILENT, Progress
from miracle_core.training.run_folder import TrainedRun, load_run, text_vectors


@dataclass(frozen=True)
class RunEvaluation:
    """What a run reaches, beside what needs no learning.

    Attributes:
        run: the run.
        dataset: what it was evaluated on.
        zero_shot: whether that is another catalogue than the one it was trained on.
        exclude_seen: whether history items were left out of the candidates.
        found: the run's own figures.
        references: ``popularity`` and ``chance`` on the same users.
    """

    run: TrainedRun
    dataset: Dataset
    zero_shot: bool
    exclude_seen: bool
    found: Evaluation
    references: dict[str, Reference]

    def summary(self) -> dict[str, Any]:
        """The JSON contract of ``miracle evaluate``."""
        return {
            **self.found.summary(),
            "weights": self.run.weights_from,
            "zero_shot": self.zero_shot,
            "exclude_seen": self.exclude_seen,
            "references": {name: other.metrics for name, other in self.references.items()},
        }


def evaluate_run(
    run: str | Path,
    data: str | Path | None = None,
    split: Split = "test",
    *,
    encoder: str | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    exclude_seen: bool = False,
    keep_top: int = 0,
    progress: Progress = SILENT,
) -> RunEvaluation:
    """Evaluate a run by full ranking (see :func:`miracle_core.evaluation.evaluate.evaluate`).

    Args:
        run: the run folder; also one whose training was stopped or killed.
        data: a Dataset folder; None takes the run's own data.
        split: ``valid`` or ``test``.
        encoder: whose text features of ``data`` are read; None takes those of the run's encoder.
        ks: cut-offs of the metrics.
        exclude_seen: leave a user's history out of the candidates.
        keep_top: keep each user's so many best items.
        progress: told of users done.

    Raises:
        InputError: no run, changed data, another catalogue than a transductive run's, or text
            features of another encoder than the run's.
    """
    trained = load_run(run)
    if data is None:
        if encoder is not None:
            raise InputError(
                "a run's own data has the text features it was trained on, and no others",
                where=f"--encoder {encoder}",
                remedy="leave it out, or name a Dataset with --data",
            )
        dataset, text, zero_shot = trained.dataset, trained.text, False
    else:
        dataset = Dataset.open(data)
        zero_shot = _catalogue(dataset) != _catalogue(trained.dataset)
        text = _other_data(trained, dataset, encoder, zero_shot)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scorer = MiracleScorer(trained.model.to(device), text.to(device))
    found = evaluate(
        scorer,
        dataset,
        split,
        ks=ks,
        exclude_seen=exclude_seen,
        keep_top=keep_top,
        progress=progress,
    )
    others = references(dataset, split, ks=ks, exclude_seen=exclude_seen)
    return RunEvaluation(trained, dataset, zero_shot, exclude_seen, found, others)


def _catalogue(dataset: Dataset) -> str:
    return dataset.manifest.files["items.parquet"]


def _other_data(
    trained: TrainedRun, dataset: Dataset, encoder: str | None, zero_shot: bool
) -> Tensor:
    """Text vectors of a Dataset that is not the run's own, if the run can read them."""
    if zero_shot and trained.settings.train.mode == "transductive":
        raise InputError(
            f"the run is transductive: it knows the items of {trained.dataset.name!r} by an "
            f"embedding each, and {dataset.name!r} has another catalogue",
            where=str(dataset.folder),
            remedy="evaluate an inductive run, or fine-tune on this Dataset",
        )
    name = encoder
    if name is None and trained.settings.encoder in dataset.manifest.features:
        name = trained.settings.encoder
    entry = dataset.feature_set(name)
    own = trained.dataset.feature_set(trained.settings.encoder or None).encoder
    if _vectors_of(entry.encoder) != _vectors_of(own):
        raise InputError(
            f"its text features are of encoder {_describe(entry.encoder)}, the run reads those of "
            f"{_describe(own)}",
            where=str(dataset.folder),
            remedy=f"make them with: miracle encode {dataset.folder} --encoder {own.name}",
        )
    return trained.model.scaled_text(text_vectors(dataset, entry.encoder.name))


def _vectors_of(encoder: EncoderIdentity) -> dict[str, Any]:
    """What decides the vectors: all but the name, for one model may be had under two."""
    return encoder.model_dump(exclude={"name"})


def _describe(encoder: EncoderIdentity) -> str:
    return (
        f"{encoder.name!r} ({encoder.width} wide, {encoder.pooling} pooling, "
        f"{encoder.max_length or 'all'} tokens, revision {encoder.revision[:12]})"
    )
