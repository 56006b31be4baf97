"""A run measured: on its own data, or on a catalogue it never saw (zero-shot)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miracle_core.data.dataset import Dataset, Split
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import Evaluation, evaluate
from miracle_core.evaluation.metrics import DEFAULT_KS
from miracle_core.evaluation.references import Reference, references
from miracle_core.evaluation.scorers import MiracleScorer, TextSimilarity
from miracle_core.processes import processes
from miracle_core.progress import SILENT, Progress
from miracle_core.training.run_folder import TrainedRun, load_run


@dataclass(frozen=True)
class RunEvaluation:
    """What a run reaches, beside what needs no learning.

    Attributes:
        run: the run.
        dataset: what it was evaluated on.
        zero_shot: whether that is another catalogue than the one it was trained on.
        exclude_seen: whether history items were left out of the candidates.
        found: the run's own figures.
        references: ``popularity`` and ``chance`` on the same users; of a zero-shot evaluation also
            ``text``, nearness of texts alone (:class:`TextSimilarity`), which is what is left of a
            pre-trained model if its pre-training is of no use.
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

    Several processes each rank for a share of the users, and all return the whole.

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
        InputError: no run, changed data, another catalogue than a transductive run's, text
            features of another encoder than the run's, or a pre-trained run and no ``data``.
    """
    if data is None and encoder is not None:
        raise InputError(
            "a run's own data has the text features it was trained on, and no others",
            where=f"--encoder {encoder}",
            remedy="leave it out, or name a Dataset with --data",
        )
    other = None if data is None else Dataset.open(data)
    trained = load_run(run, other, encoder=encoder)
    dataset = trained.dataset
    together = processes()
    device = together.device
    scorer = MiracleScorer(trained.model.to(device), trained.text.to(device))
    found = evaluate(
        scorer,
        dataset,
        split,
        ks=ks,
        exclude_seen=exclude_seen,
        keep_top=keep_top,
        progress=progress,
        processes=together,
    )
    others = references(dataset, split, ks=ks, exclude_seen=exclude_seen)
    zero_shot = not trained.origin.knows(dataset)
    if zero_shot:
        text = evaluate(
            TextSimilarity(trained.text.to(device), scorer.max_length),
            dataset,
            split,
            ks=ks,
            exclude_seen=exclude_seen,
            processes=together,
        )
        others = {"text": Reference(text.ranks, text.metrics), **others}
    return RunEvaluation(trained, dataset, zero_shot, exclude_seen, found, others)
