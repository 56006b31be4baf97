"""Progress on the terminal; in a pipe or a log, one line a stage."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from miracle_cli.output import message, plain
from miracle_cli.verbosity import draws, log

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class RichProgress:
    """A :class:`miracle_core.progress.Progress` on stderr.

    On a terminal every stage is a bar, with its rate and the time left where the total is known.
    Elsewhere a stage is one line when it begins.
    """

    def __init__(self) -> None:
        self._shown = draws()
        self._bars: Bars | None = None
        self._tasks: list[TaskID] = []

    def start(self, what: str, total: int | None, unit: str) -> None:
        """Begin a stage inside those begun and not ended yet."""
        line = what + (f" ({total:,} {unit})" if total else "")
        if not self._shown:
            message(line)
            return
        log(line)
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
        self._tasks.append(
            self._bars.add_task(plain(what), total=total, unit=plain(unit), of=total)
        )

    def advance(self, amount: int) -> None:
        """Move the bar begun last."""
        if self._bars is not None and self._tasks:
            self._bars.advance(self._tasks[-1], amount)

    def finish(self) -> None:
        """End the bar begun last; with the last of them the display ends too."""
        if self._bars is None or not self._tasks:
            return
        task = self._tasks.pop()
        if self._bars.tasks[task].total is None:  # it never had an end: now it does
            done = self._bars.tasks[task].completed or 1
            self._bars.update(task, total=done, completed=done)
        self._bars.stop_task(task)
        if not self._tasks:
            self._bars.stop()
            self._bars = None


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Counts(ProgressColumn):
        """Units done and units a second, for stages that count."""

        def render(self, task: Task) -> Text:
            unit = task.fields["unit"]
            if not unit:
                return Text("")
            speed = task.finished_speed or task.speed
            rate = f", {speed:,.0f}/s" if speed else ""
            of = "" if task.fields["of"] is None else f"/{task.fields['of']:,.0f}"
            return Text(f"{task.completed:,.0f}{of} {unit}{rate}", style="dim")

    return Progress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        Counts(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
    )
