"""The dialog to choose what to compare with: a run and one of its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from miracle_core.runs.records import Weights
from miracle_core.runs.summary import RunSummary, State, real_path
from tui.display import shown
from tui.on_disk import state_name
from tui.screens.modal import Dialog
from tui.widgets.rows import Cell, Column, Rows

KEPT = "A training keeps two epochs: the best on validation, and the last."


@dataclass(frozen=True)
class Choice:
    """One state of one run.

    Attributes:
        run: the run.
        state: one of the states that the run keeps.
        here: whether it is the open run.
    """

    run: RunSummary
    state: State
    here: bool


def choices_of(runs: Sequence[RunSummary], here: Path | None, shown_now: Weights) -> list[Choice]:
    """List what can be compared: first the open run's other epoch, then the other runs'.

    Args:
        runs: the runs found.
        here: the open run, or None.
        shown_now: which of the open run's weights are loaded.
    """
    found = [
        Choice(run, state, real_path(run.path) == here)
        for run in runs
        for state in run.states
        if real_path(run.path) != here or state.weights != shown_now
    ]
    return sorted(found, key=lambda choice: not choice.here)


class ChooseRunScreen(Dialog[Choice]):
    """A list of runs and their epochs.

    Args:
        choices: the choices.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        super().__init__()
        self._choices = choices

    def compose(self) -> ComposeResult:
        """The list."""
        with Vertical(id="dialog", classes="-wide"):
            yield Rows(
                Column("run", -3),
                Column("system", -2),
                Column("weights", 17),
                Column("data set", -2),
                Column("validation", 18),
                id="choices",
            )
            yield Static(KEPT, markup=False, classes="label")

    def on_mount(self) -> None:
        """Fill it."""
        dialog = self.query_one("#dialog")
        dialog.border_title = "Compare with"
        dialog.border_subtitle = "Enter chooses · Esc closes"
        rows = self.query_one("#choices", Rows)
        rows.say("Nothing else to compare with was found. Open a run on the Runs screen first.")
        rows.styles.height = min(max(len(self._choices) + 1, 2), 14)
        rows.show(len(self._choices), self._cells)
        rows.focus()

    def _cells(self, place: int) -> Sequence[Cell]:
        choice = self._choices[place]
        run, state = choice.run, choice.state
        found = "" if state.value is None else f"{run.metric} {state.value:.4f}"
        name = "this run" if choice.here else shown(run.path.name)
        epoch = state_name(state.weights, state.epoch, fitted=run.fitted)
        return name, shown(run.title), epoch, shown(run.dataset), shown(found, 40)

    def on_rows_selected(self, event: Rows.Selected) -> None:
        """Choose."""
        self.dismiss(self._choices[event.place])
