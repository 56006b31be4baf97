"""Choosing a second run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.display import shown
from tui.runs import RunSummary
from tui.screens.modal import Dialog
from tui.widgets.rows import Cell, Column, Rows


class ChooseRunScreen(Dialog[Path]):
    """A list of runs.

    Args:
        runs: what there is to choose from.
    """

    def __init__(self, runs: Sequence[RunSummary]) -> None:
        super().__init__()
        self._runs = runs

    def compose(self) -> ComposeResult:
        """The list."""
        with Vertical(id="dialog"):
            yield Rows(Column("run", -2), Column("data set", -1), Column("best", 22), id="choices")

    def on_mount(self) -> None:
        """Fill it."""
        dialog = self.query_one("#dialog")
        dialog.border_title = "Compare with"
        dialog.border_subtitle = "Enter chooses · Esc closes"
        rows = self.query_one("#choices", Rows)
        rows.say("No other run was found. Open one on the Runs screen first.")
        rows.styles.height = min(max(len(self._runs) + 1, 2), 14)
        rows.show(len(self._runs), self._cells)
        rows.focus()

    def _cells(self, place: int) -> Sequence[Cell]:
        run = self._runs[place]
        best = "" if run.best is None else f"{run.metric} {run.best:.4f}"
        return shown(run.path.name), shown(run.dataset), shown(best, 40)

    def on_rows_selected(self, event: Rows.Selected) -> None:
        """Choose."""
        self.dismiss(self._runs[event.place].path)
