"""Detect what has changed in a run folder since it was loaded.

Training replaces the weights epoch by epoch, and a new training may replace the whole folder. The
loaded weights keep answering, so the user must be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from miracle_core.runs.records import CONFIG, WEIGHTS, Weights, kept_epoch
from miracle_core.runs.summary import MANIFEST, Stamp, stamp_of, summarise

if TYPE_CHECKING:
    from miracle_core.recommender import Rules

RELOAD = "Ctrl+R"


@dataclass(frozen=True)
class Source:
    """What to open.

    Attributes:
        run: the run folder.
        data: the Dataset that the run reads; None for the run's own.
        weights: which of the run's two checkpoints; None takes the best if there is one.
        rules: the shop rules for every list; None for none.
        options: the command-line options that specify these rules.
    """

    run: Path
    data: Path | None = None
    weights: Weights | None = None
    rules: Rules | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """Stamps of the files that determine the answers; None for a missing file.

    Attributes:
        settings: ``config.toml``.
        data: the Dataset's manifest, which holds the hashes of its files.
        best: the weights of the best epoch.
        last: the newest checkpoint.
    """

    settings: Stamp | None
    data: Stamp | None
    best: Stamp | None
    last: Stamp | None

    @classmethod
    def of(cls, source: Source) -> Files:
        """Look at the folders. Call this in a worker thread, since the disk may be slow."""
        run = source.run
        manifest = run / MANIFEST if source.data is None else source.data / "manifest.json"
        return cls(
            settings=stamp_of(run / CONFIG),
            data=stamp_of(manifest),
            best=stamp_of(run / WEIGHTS["best"]),
            last=stamp_of(run / WEIGHTS["last"]),
        )

    def same_run(self, other: Files) -> bool:
        """Whether both belong to the same training on the same data, perhaps at other times."""
        return (self.settings, self.data) == (other.settings, other.data)

    def weights(self, which: Weights) -> Stamp | None:
        """The stamp of the file with these weights."""
        return self.best if which == "best" else self.last


@dataclass(frozen=True)
class News:
    """What the user should know about the folder.

    Attributes:
        text: the message, or "" if nothing has changed.
        newer: whether there is something newer to load.
    """

    text: str = ""
    newer: bool = False


def state_name(weights: Weights, epoch: int | None, *, fitted: bool) -> str:
    """Name some weights by the state of training that they come from.

    Args:
        weights: which weights.
        epoch: their epoch, or None if unknown.
        fitted: whether the system is fitted in one go, and so has only one state.
    """
    if fitted:
        return "fitted state"
    return f"{weights} epoch ({epoch})" if epoch else f"{weights} epoch"


def news_of(source: Source, loaded: Files, here: str, answering: Weights) -> News:
    """Say what has changed in a run folder since it was loaded.

    Args:
        source: what was loaded.
        loaded: the files that were there then.
        here: the name of the weights that answer now.
        answering: which weights these are.
    """
    run, now = source.run, Files.of(source)
    if now.settings is None:
        return News(
            f"The run folder is gone or can't be reached: {run}. What is loaded goes on answering; "
            "it can't be opened again."
        )
    which = source.weights or ("best" if now.best else "last")
    if now.settings == loaded.settings and source.data is not None and now.data != loaded.data:
        if now.data is None:
            return News(f"The Dataset is gone or can't be reached: {source.data}.")
        return News(f"The Dataset was changed since it was opened. {RELOAD} loads it.", newer=True)
    if not now.same_run(loaded):
        what = f"The run was trained again or changed since it was opened: its old {here} answers."
        if now.weights(which) is None:
            return News(f"{what} The new run has no weights yet.")
        return News(f"{what} {RELOAD} loads the new run.", newer=True)
    there = now.weights(which)
    if there is None or there == loaded.weights(answering):
        return News()
    newer = state_name(which, kept_epoch(run, which), fitted=summarise(run).fitted)
    return News(f"The {here} answers. Newer weights are there: {newer}. {RELOAD} loads them.", True)
