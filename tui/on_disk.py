"""What a run's folder holds now, against what was loaded from it.

A training replaces the weights epoch by epoch, and another one may replace the whole folder. What
is loaded answers all the same, so a person has to be told.
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
    """What is opened.

    Attributes:
        run: the run folder.
        data: the Dataset that it reads; None for the run's own.
        weights: which of its two kept states; None takes the best, if there is one.
        rules: of every list; None for none.
        options: the words that make these rules on a command line.
    """

    run: Path
    data: Path | None = None
    weights: Weights | None = None
    rules: Rules | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """The files that decide what answers; None where there is none.

    Attributes:
        settings: ``config.toml``.
        data: the Dataset's manifest, which has the hashes of its files.
        best: the weights of the best epoch.
        last: the newest checkpoint.
    """

    settings: Stamp | None
    data: Stamp | None
    best: Stamp | None
    last: Stamp | None

    @classmethod
    def of(cls, source: Source) -> Files:
        """Look at the folders. They may be on a slow disk: not for the interface's own thread."""
        run = source.run
        manifest = run / MANIFEST if source.data is None else source.data / "manifest.json"
        return cls(
            settings=stamp_of(run / CONFIG),
            data=stamp_of(manifest),
            best=stamp_of(run / WEIGHTS["best"]),
            last=stamp_of(run / WEIGHTS["last"]),
        )

    def same_run(self, other: Files) -> bool:
        """Whether both are of one training on the same data, perhaps at different times."""
        return (self.settings, self.data) == (other.settings, other.data)

    def weights(self, which: Weights) -> Stamp | None:
        """The file of some weights."""
        return self.best if which == "best" else self.last


@dataclass(frozen=True)
class News:
    """What a person has to know of the folder.

    Attributes:
        text: in words, or "" where nothing has changed.
        newer: whether there is something else to load than what answers.
    """

    text: str = ""
    newer: bool = False


def state_name(weights: Weights, epoch: int | None, *, fitted: bool) -> str:
    """Which state of a training some weights are, in words.

    Args:
        weights: which.
        epoch: the epoch that they are of, if it is known.
        fitted: whether their system learns at once: then there is but one state.
    """
    if fitted:
        return "fitted state"
    return f"{weights} epoch ({epoch})" if epoch else f"{weights} epoch"


def news_of(source: Source, loaded: Files, here: str, answering: Weights) -> News:
    """What has changed in a run's folder since it was loaded.

    Args:
        source: what was loaded.
        loaded: what was there then.
        here: the weights that answer, in words.
        answering: which they are.
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
