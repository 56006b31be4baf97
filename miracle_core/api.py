"""The functions most programs need, in one place: ``from miracle_core import train, evaluate``.

Each function does what one command of the shell does. ``miracle_core`` loads these names on first
use, so that importing it imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miracle_core.config import SeenRule, Settings, make_settings, nested
from miracle_core.data.dataset import Dataset, Split
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import RunEvaluation, evaluate_run
from miracle_core.evaluation.metrics import DEFAULT_KS
from miracle_core.paths import as_path
from miracle_core.progress import SILENT, Progress
from miracle_core.ranking.rules import Rules
from miracle_core.recommender.recommender import Recommender
from miracle_core.registry import SystemSpec, register
from miracle_core.report.comparison import Comparison
from miracle_core.report.gather import gather
from miracle_core.report.systems import check_comparable, grouped
from miracle_core.runs.folder import RunFolder
from miracle_core.text import TextEncoder, encode_dataset
from miracle_core.training.finetuning import finetune
from miracle_core.training.listeners import Listener
from miracle_core.training.transfer import settings_from

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Comparison",
    "Dataset",
    "Recommender",
    "RunEvaluation",
    "TrainingResult",
    "compare",
    "encode",
    "evaluate",
    "train",
]


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended; ``result.json`` of the run folder says the same.

    Attributes:
        run: the run folder.
        status: ``finished``, ``stopped early`` or ``interrupted`` (go on with ``resume=True``).
        epochs: epochs done; 0 for a system that is fitted at once.
        best_epoch: the epoch whose weights are kept; 0 if there is none.
        metric: the validation metric that chose it.
        valid: its metrics on the validation part.
        test: its metrics on the test part; None if that was not read.
        seconds: how long it took, the time before a resumed run was stopped included.
    """

    run: Path
    status: str
    epochs: int
    best_epoch: int | None
    metric: str
    valid: Mapping[str, float]
    test: Mapping[str, float] | None
    seconds: float

    @classmethod
    def of(cls, run: Path, result: Mapping[str, Any], settings: Settings) -> TrainingResult:
        """From what ``result.json`` holds."""
        return cls(
            run=run,
            status=result["status"],
            epochs=result["epochs"],
            best_epoch=result.get("best_epoch"),
            metric=result.get("metric", settings.train.metric),
            valid=result.get("valid", {}),
            test=result.get("test"),
            seconds=result["seconds"],
        )

    def recommender(self, **options: Any) -> Recommender:
        """The run, loaded to answer (:meth:`Recommender.load`)."""
        return Recommender.load(self.run, **options)

    def history(self) -> pd.DataFrame:
        """A row an epoch (:meth:`miracle_core.runs.folder.RunFolder.frame`)."""
        return RunFolder(self.run).frame()

    def frame(self) -> pd.DataFrame:
        """The metrics: a row for the validation part, and one for the test part if it was read."""
        import pandas as pd

        rows = {"valid": self.valid} | ({} if self.test is None else {"test": self.test})
        return pd.DataFrame.from_dict(rows, orient="index")

    def _repr_html_(self) -> str:
        return str(self.frame().to_html())


def train(
    data: Dataset | str | Path,
    out: str | Path,
    *,
    model: str | SystemSpec | None = None,
    start: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listeners: Sequence[Listener] = (),
) -> TrainingResult:
    """Train a system on a Dataset and leave a run folder, as ``miracle train`` does.

    Args:
        data: the Dataset, or its folder.
        out: the run folder.
        model: a system's name (``miracle models``), or the :class:`SystemSpec` of one of your own,
            which is registered for this process; None takes that of ``start``, else ``miracle``.
        start: a run whose weights and network settings are taken over (``--from``).
        settings: more settings by dotted name, as in ``{"train.epochs": 5, "seen": "leave-out"}``.
        resume: go on where the run in ``out`` stopped; its own settings hold.
        overwrite: replace a run that is in ``out`` already.
        listeners: called as the training goes on.

    Raises:
        InputError: an unknown setting, a Dataset that the system can't read, ``out`` is taken, or
            what :func:`miracle_core.training.finetuning.finetune` raises.
        MiracleError: the loss is no longer finite.
    """
    if isinstance(model, SystemSpec):
        register(model)
        model = model.name
    folder = data.folder if isinstance(data, Dataset) else as_path(data)
    ground = {} if start is None else settings_from(start)
    named = {} if model is None else {"model.kind": model}
    asked = nested({"data": str(folder), **named, **(settings or {})})
    made = make_settings(ground, asked)
    result = finetune(made, out, resume=resume, overwrite=overwrite, listeners=listeners)
    return TrainingResult.of(as_path(out), result, made)


def encode(
    data: Dataset | str | Path, encoder: str | TextEncoder, progress: Progress = SILENT
) -> Dataset:
    """Add text vectors to a Dataset, as ``miracle encode`` does.

    Args:
        data: the Dataset, or its folder.
        encoder: a name (``minilm``, ``hashing``, a model), or an encoder of your own
            (:class:`miracle_core.text.TextEncoder`).
        progress: shows the texts encoded.

    Returns:
        The Dataset, opened again.

    Raises:
        InputError: what :func:`miracle_core.text.encode_dataset` raises.
    """
    folder = data.folder if isinstance(data, Dataset) else data
    return encode_dataset(folder, encoder, progress)


def evaluate(
    run: str | Path | TrainingResult,
    data: Dataset | str | Path | None = None,
    split: Split = "test",
    *,
    ks: Sequence[int] = DEFAULT_KS,
    seen: SeenRule | None = None,
    rules: Rules | None = None,
    progress: Progress = SILENT,
) -> RunEvaluation:
    """Rank all items for every user, as ``miracle evaluate`` does.

    A look at the test part is logged in the run folder. Choose settings with ``split="valid"``.

    Args:
        run: the run folder, or what :func:`train` gave.
        data: another Dataset than the run's own, or its folder.
        split: ``test`` or ``valid``.
        ks: cut-offs of the metrics.
        seen: what becomes of items that a history holds; None takes the run's own rule.
        rules: the rules for lists; the reference is then the run without them.
        progress: shows the users done.

    Raises:
        InputError: what :func:`miracle_core.evaluation.evaluate_run.evaluate_run` raises.
    """
    folder = data.folder if isinstance(data, Dataset) else data
    return evaluate_run(_run(run), folder, split, ks=ks, seen=seen, rules=rules, progress=progress)


def compare(
    runs: Iterable[str | Path | TrainingResult],
    *,
    primary: str = "ndcg@10",
    proposed: str | None = None,
    split: Split = "test",
    seen: SeenRule | None = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Compare systems on the same users, as ``miracle compare`` does.

    Args:
        runs: run folders, folders of ``seed-N`` runs, files of ``--save-users``, or what
            :func:`train` gave. Runs that differ in their seed only are one system.
        primary: the metric of the claim.
        proposed: the system that is claimed to be better; None makes no claim.
        split: what runs are evaluated on.
        seen: the seen rule for all; None takes each run's own.
        progress: shows the users done.

    Raises:
        InputError: a single system, or results that can't be in one table.
    """
    sources = gather([_run(run) for run in runs], split, seen, progress=progress)
    if not sources:
        raise InputError("there is no run", where="compare", remedy="name runs of two systems")
    check_comparable([source.results for source in sources])
    return Comparison(grouped(sources), primary=primary, proposed=proposed)


def _run(run: str | Path | TrainingResult) -> Path:
    return run.run if isinstance(run, TrainingResult) else as_path(run)
