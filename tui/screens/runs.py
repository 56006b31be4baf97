"""The Runs screen: the runs that were found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from miracle_core.runs.summary import RunSummary, find_runs, real_path
from tui.background import background
from tui.display import shown
from tui.exports import Table
from tui.screens.base import ExplorerScreen
from tui.widgets.panel import Panel
from tui.widgets.rows import Cell, Column, Rows

NONE = """No run was found here or below.

Train one:    miracle train --data DATA --out RUN
Or see all of it on generated data:    miracle demo

Then press s to look again. o opens a folder somewhere else."""


class RunsPanel(Panel):
    """The list."""

    def __init__(self) -> None:
        super().__init__("Runs", "", id="runs")

    def compose_body(self) -> ComposeResult:
        """The list."""
        yield Rows(
            id="run-list",
        )

    def share_room(self, *, narrow: bool) -> None:
        """Set the columns; in a narrow terminal, runs' names get room before numbers."""
        self.query_one(Rows).columns = (
            Column("run", -5),
            Column("system", -3),
            Column("data set", -3),
            Column("best" if narrow else "best on validation", 17 if narrow else 22),
            Column("state", 14 if narrow else -3),
            Column("changed", 11 if narrow else 17),
            *([] if narrow else [Column("epochs", 7, right=True)]),
        )
        self.query_one(Rows).refresh()


class RunsScreen(ExplorerScreen):
    """The runs found where the explorer was started, and those opened before."""

    mode = "runs"
    about = "The run folders found here and below, and those opened before."
    AUTO_FOCUS = "#run-list"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "pick", "Open a folder"),
        Binding("s", "search", "Look again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[RunSummary] = []

    def compose_main(self) -> ComposeResult:
        """One panel."""
        yield RunsPanel()

    @property
    def list(self) -> Rows:
        """The list."""
        return self.query_one("#run-list", Rows)

    def arrive(self) -> None:
        """Look for runs."""
        self.look()

    def fold(self) -> None:
        """Show fewer columns in a narrow terminal."""
        self.query_one(RunsPanel).share_room(narrow=self.has_class("-narrow"))

    def action_search(self) -> None:
        """Look again."""
        self.look()

    def action_pick(self) -> None:
        """Choose a folder."""
        from tui.screens.pick_folder import RUN, PickFolderScreen

        def open_folder(folder: Path | None) -> None:
            if folder is not None:
                self._open(folder)

        self.app.push_screen(PickFolderScreen(self.explorer.here, RUN), open_folder)

    @background("runs")
    async def look(self) -> None:
        """Look for runs in a thread, since the disk may be slow."""
        if not self._runs:
            self.list.say("Looking for runs …")
        explorer = self.explorer
        # A folder that was opened by mistake may hold runs.
        opened = [explorer.engine.run] if explorer.engine is not None else []
        places = [explorer.here, *opened, *map(Path, explorer.session.recent)]
        self._runs = await asyncio.to_thread(find_runs, places)
        self.list.say(NONE)
        self.list.show(len(self._runs), self._cells)
        self.query_one(RunsPanel).describe(f"{len(self._runs)} found" if self._runs else "")

    def _cells(self, place: int) -> Sequence[Cell]:
        run = self._runs[place]
        best = "" if run.best is None else f"{run.metric} {run.best:.4f}"
        changed = datetime.fromtimestamp(run.changed)
        name, folder = self._shown_path(run.path)
        engine = self.explorer.engine
        here = engine is not None and real_path(engine.run) == real_path(run.path)
        return (
            Text.assemble(("● " if here else "  ") + shown(name), (f"  {shown(folder)}", "dim")),
            shown(run.title, 40),
            shown(run.dataset) or Text("unreadable", "dim"),
            shown(best, 40) or Text("none yet", "dim"),
            shown(run.status, 40) if run.ready else "no weights yet",
            f"{changed:%Y-%m-%d}" if self.has_class("-narrow") else f"{changed:%Y-%m-%d %H:%M}",
            "" if run.fitted else f"{run.epochs}",
        )

    def _shown_path(self, path: Path) -> tuple[str, str]:
        """A run's name and, if it is not below the start folder, its parent folder."""
        here, real = real_path(self.explorer.here), real_path(path)
        if real.is_relative_to(here):
            return str(real.relative_to(here)), ""
        return path.name, str(path.parent)

    def on_rows_selected(self, event: Rows.Selected) -> None:
        """Open a run."""
        self._open(self._runs[event.place].path)

    def _open(self, folder: Path) -> None:
        self.explorer.choose_run(folder)

    def export_json(self) -> Any:
        """The runs."""
        head, rows = self.export_table()
        return [dict(zip(head, row, strict=True)) for row in rows]

    def export_table(self) -> Table:
        """The runs."""
        return ("run", "system", "dataset", "metric", "best", "epochs", "status"), [
            (str(r.path), r.system, r.dataset, r.metric, r.best, r.epochs, r.status)
            for r in self._runs
        ]
