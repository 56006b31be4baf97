"""What a run's folder holds now, against what was loaded from it.

A training replaces the weights epoch by epoch, and another one may replace the whole folder. What
is loaded answers all the same, so a person has to be told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tui.runs import WEIGHTS, Stamp, Weights, stamp_of, state_name

RELOAD = "Ctrl+R"


@dataclass(frozen=True)
class Files:
    """The files of a run folder that decide what answers; None where there is none.

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
    def of(cls, run: Path) -> Files:
        """Look at a folder. It may be on a slow disk: not for the interface's own thread."""
        return cls(
            settings=stamp_of(run / "config.toml"),
            data=stamp_of(run / "data" / "manifest.json"),
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
        newer: whether there are other weights to load than those that answer.
    """

    text: str = ""
    newer: bool = False


def news_of(
    run: Path, loaded: Files, answering: Weights, epoch: int | None, asked: Weights | None
) -> News:
    """What has changed in a run's folder since it was loaded.

    Args:
        run: the folder.
        loaded: what it held then.
        answering: the weights that were loaded.
        epoch: their epoch, if their file says.
        asked: the weights asked for; None for the best, or the last where there are none.
    """
    now = Files.of(run)
    here = state_name(answering, epoch)
    if now.settings is None:
        return News(
            f"The run folder is gone or can't be reached: {run}. What is loaded goes on answering; "
            "it can't be opened again."
        )
    which = asked or ("best" if now.best else "last")
    if not now.same_run(loaded):
        what = f"The run was trained again or changed since it was opened: its old {here} answers."
        if now.weights(which) is None:
            return News(f"{what} The new run has no weights yet.")
        return News(f"{what} {RELOAD} loads the new run.", newer=True)
    there = now.weights(which)
    if there is None or there == loaded.weights(answering):
        return News()
    newer = state_name(which, kept_epoch(run, which))
    return News(f"The {here} answers. Newer weights are there: {newer}. {RELOAD} loads them.", True)


def kept_epoch(run: Path, which: Weights) -> int | None:
    """The epoch of some weights, as their file says, or None if it doesn't."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(run / WEIGHTS[which], framework="numpy") as file:
            metadata = file.metadata() or {}
        position = json.loads(metadata.get("position", "{}"))
        return int(position["epoch"] if which == "last" else metadata["epoch"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
