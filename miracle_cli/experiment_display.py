"""How far an experiment's runs are, live on stderr; in a pipe or a log, a line a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from miracle_cli.output import message, plain
from miracle_cli.verbosity import draws, log
from miracle_core.experiments.running import Outcome, Watcher

if TYPE_CHECKING:
    from miracle_core.experiments.plan import Run

_ENDED = 5  # ended runs that stay in sight


class Display(Watcher):
    """The runs at work and those that ended last; use it in a ``with`` block.

    What a run has reached is read from its folder, so that it makes no difference which process
    trains it.

    Args:
        runs: all that are to be done here.
        out: the experiment's folder.
    """

    def __init__(self, runs: Sequence[Run], out: Path) -> None:
        self.runs, self.out = runs, out
        self._working: dict[str, tuple[Run, float]] = {}
        self._ended: list[tuple[Run, Outcome, float]] = []
        self._stopping = False
        self._live: Any = None
        self._at_first = 0
        self._begun = False

    def __enter__(self) -> Self:
        from miracle_core.experiments.folder import progress

        self._at_first = sum(progress(run, self.out).state == "done" for run in self.runs)
        if draws():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(file=sys.stderr),
                get_renderable=self._table,
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def stopping(self) -> None:
        """Ctrl-C was pressed."""
        self._stopping = True
        self._tell("stopping: what is going on is saved first; press Ctrl-C again to abort")

    def begins(self, run: Run) -> None:
        """A run begins."""
        if self._at_first and not self._begun:
            message(f"{self._at_first} of {len(self.runs)} runs are done already")
        self._begun = True
        self._working[run.name] = (run, time.monotonic())
        self._tell(f"begins {run.name}")

    def ends(self, run: Run, outcome: Outcome, why: str) -> None:
        """A run has ended."""
        _, begun = self._working.pop(run.name)
        seconds = time.monotonic() - begun
        self._ended.append((run, outcome, seconds))
        self._tell(self._line(run, outcome, seconds) + (f": {why}" if why else ""))

    def _tell(self, line: str) -> None:
        """A line; where the table shows the same, it goes to the log alone."""
        (message if self._live is None else log)(line)

    def _line(self, run: Run, outcome: str, seconds: float) -> str:
        from miracle_cli.training_display import clock

        done = self._at_first + sum(each[1] == "done" for each in self._ended)
        return f"{outcome} {run.name} in {clock(seconds)} ({done} of {len(self.runs)})"

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        from miracle_cli.training_display import clock
        from miracle_core.experiments.folder import progress

        done = self._at_first + sum(each[1] == "done" for each in self._ended)
        caption = f"{done} of {len(self.runs)} runs are done"
        if self._stopping:
            caption += "; stopping: saved first, press Ctrl-C again to abort"
        table = Table(box=box.SIMPLE_HEAD, caption=Text(caption), caption_justify="left")
        for name in ("run", "state", "epoch", "best validation", "time"):
            table.add_column(name, justify="left" if name in ("run", "state") else "right")
        # Copies: the runs change in another thread than this one.
        ended, working = list(self._ended), list(self._working.values())
        now = time.monotonic()
        for run, state, seconds in [
            *((run, outcome, seconds) for run, outcome, seconds in ended[-_ENDED:]),
            *((run, "at work", now - begun) for run, begun in working),
        ]:
            found = progress(run, self.out)
            metric = run.settings.train.metric
            table.add_row(
                Text(plain(run.name)),
                Text(state),
                Text(f"{found.epochs}/{run.settings.train.epochs}" if found.epochs else ""),
                Text("" if found.best is None else f"{metric} {found.best:.4f}"),
                Text(clock(seconds)),
            )
        return table
