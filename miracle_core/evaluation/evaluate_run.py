"""Evaluation of a run, on its own data or on a catalogue that it never saw (zero-shot)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miracle_core.config import SeenRule, make_settings
from miracle_core.data.dataset import Dataset, Split
from miracle_core.devices import AUTO
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import Evaluation, evaluate
from miracle_core.evaluation.metrics import DEFAULT_KS
from miracle_core.evaluation.references import Reference, references
from miracle_core.processes import processes
from miracle_core.progress import SILENT, Progress
from miracle_core.ranking.applied import Applied
from miracle_core.ranking.rules import Rules
from miracle_core.runs.looks import log_look
from miracle_core.runs.opening import TrainedRun, build_system, item_side, load_run
from miracle_core.systems.base import Sizes
from miracle_core.systems.scorer import Scorer

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunEvaluation:
    """The metrics of a run, beside those of popularity and chance.

    Attributes:
        run: the run.
        dataset: what it was evaluated on.
        zero_shot: whether that is another catalogue than the one it was trained on.
        seen: what became of items that the history holds.
        found: the run's own figures.
        references: ``popularity`` and ``chance`` on the same users. For a zero-shot evaluation also
            ``text``: nearness of texts with the history left out (the system ``textknn``), which a
            pre-training must beat to be of use. Under rules only the run ``without rules``.
        notes: what a person should hear, such as a look at the test part that is not logged.
        rules: the rules for lists.
    """

    run: TrainedRun
    dataset: Dataset
    zero_shot: bool
    seen: SeenRule
    found: Evaluation
    references: dict[str, Reference]
    notes: tuple[str, ...] = ()
    rules: Rules = field(default_factory=Rules)

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {value:.4f}" for name, value in self.found.metrics.items())
        return f"<RunEvaluation of {self.run.folder.path}: {told}; see .frame()>"

    def summary(self) -> dict[str, Any]:
        """The JSON contract of ``miracle evaluate``."""
        return {
            "model": self.run.settings.model.kind,
            **self.found.summary(),
            "weights": self.run.weights_from,
            "zero_shot": self.zero_shot,
            "seen": self.seen,
            "trained_seen": self.run.settings.seen,
            "exclude_seen": self.seen == "leave-out",
            **({} if self.rules.empty else {"rules": self.rules.summary()}),
            "references": {name: other.metrics for name, other in self.references.items()},
        }

    def frame(self) -> pd.DataFrame:
        """The metrics as a pandas DataFrame: a row for the run and for each reference.

        The index is the run folder's name, and the references' names; the columns are the metrics.
        """
        import pandas as pd

        names = [self.run.folder.path.name, *self.references]
        rows = [self.found.metrics, *(other.metrics for other in self.references.values())]
        return pd.DataFrame(rows, index=pd.Index(names, name="system"))

    def _repr_html_(self) -> str:
        return str(self.frame().to_html())


def evaluate_run(
    run: str | Path,
    data: str | Path | None = None,
    split: Split = "test",
    *,
    encoder: str | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    seen: SeenRule | None = None,
    keep_top: int = 0,
    device: str = AUTO,
    progress: Progress = SILENT,
    rules: Rules | None = None,
) -> RunEvaluation:
    """Evaluate a run by full ranking (see :func:`miracle_core.evaluation.evaluate.evaluate`).

    Several processes each rank for a share of the users, and all return the whole. A look at the
    test part is logged in the run folder (:mod:`miracle_core.runs.looks`).

    Args:
        run: the run folder; also one whose training was stopped or killed.
        data: a Dataset folder; None takes the run's own data.
        split: ``valid`` or ``test``.
        encoder: whose text features of ``data`` are read; None takes those of the run's encoder.
        ks: cut-offs of the metrics.
        seen: what becomes of items that the history holds; None takes the rule that the run was
            trained by.
        keep_top: how many best items of each user are kept.
        device: where it is done, by name; ``auto`` takes a GPU if there is one.
        progress: shows the users done.
        rules: the rules for lists. The reference is then the same run without them, in place of
            popularity and chance: the difference is what the rules cost.

    Raises:
        InputError: no run, changed data, another catalogue than a transductive run's, text
            features of another encoder than the run's, a pre-trained run and no ``data``, a gain
            that the run has not learned, rules that it can't follow, or no such device.
    """
    if data is None and encoder is not None:
        raise InputError(
            "a run's own data has the text features it was trained on, and no others",
            where=f"--encoder {encoder}",
            remedy="leave it out, or name a Dataset with --data",
        )
    other = None if data is None else Dataset.open(data)
    together = processes(device)
    trained = load_run(run, other, encoder=encoder).on(together.device)
    dataset = trained.dataset
    rule = seen_rule(trained, seen)
    leave_out = rule == "leave-out"
    zero_shot = not trained.origin.knows(dataset)

    def measured(
        scorer: Scorer, leave_out: bool, shown: Progress, keep: int, under: Applied | None = None
    ) -> Evaluation:
        return evaluate(
            scorer,
            dataset,
            split,
            ks=ks,
            leave_out=leave_out,
            keep_top=keep,
            progress=shown,
            processes=together,
            rules=under,
        )

    scorer = trained.scorer(gain=rule != "as-printed")
    applied = trained.applied(rules, scorer)
    found = measured(scorer, leave_out, progress, keep_top, applied)
    if applied is not None:
        plain = measured(scorer, leave_out, SILENT, 0)
        others = {"without rules": Reference(plain.ranks, plain.metrics)}
    else:
        others = references(dataset, split, ks=ks, leave_out=leave_out)
    if applied is None and zero_shot and trained.encoder is not None:
        text = measured(_text_neighbours(trained, scorer.max_length), True, SILENT, 0)
        others = {"text": Reference(text.ranks, text.metrics), **others}
    notes: list[str] = [] if applied is None else list(applied.notes)
    if split == "test":
        together.on_first(lambda: notes.extend(_logged(trained, rule)))
    asked = Rules() if rules is None else rules
    return RunEvaluation(trained, dataset, zero_shot, rule, found, others, tuple(notes), asked)


def _logged(run: TrainedRun, rule: SeenRule) -> list[str]:
    """Log a look at the test part; returns a note if it could not be logged."""
    problem = log_look(run.folder.path, "evaluate", rule, run.dataset)
    return [] if problem is None else [problem]


def seen_rule(run: TrainedRun, asked: SeenRule | None) -> SeenRule:
    """The seen rule that a run ranks by.

    Raises:
        InputError: a gain is asked for, and training learned none.
    """
    if asked == "gain" and run.system.gain() is None:
        raise InputError(
            "the run has learned no gain of items that a history holds",
            where=str(run.folder.path),
            remedy="choose as-printed or leave-out, or train with --seen gain",
        )
    return asked or run.settings.seen


def _text_neighbours(run: TrainedRun, max_length: int | None) -> Scorer:
    """Nearness of text (``textknn``) on the Dataset of a run, over its newest ``max_length`` items.

    None takes the default of ``textknn``.
    """
    own = {"kind": "textknn", **({} if max_length is None else {"max_length": max_length})}
    settings = make_settings({"model": own})
    system = build_system(settings, Sizes())
    device = run.items.required_text().device
    items = item_side(system, settings.spec, run.dataset, run.encoder, device)
    return system.to(device).scorer(items)
