"""The line at the top: the run, the screens, and the progress of long tasks."""

from __future__ import annotations

from collections.abc import Set

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static

from tui.display import shown

SCREENS: dict[str, str] = {
    "explore": "Explore",
    "users": "Users",
    "capsules": "Capsules",
    "training": "Training",
    "compare": "Compare",
    "runs": "Runs",
}


class Tab(Static):
    """A screen's name, which can be clicked."""

    class Pressed(Message):
        """A screen's name was clicked."""

        def __init__(self, mode: str) -> None:
            super().__init__()
            self.mode = mode

    def __init__(self, number: int, mode: str, *, here: bool) -> None:
        super().__init__(
            Text(f" {number} {SCREENS[mode]} "), classes="-here" if here else "", markup=False
        )
        self.mode = mode

    def on_click(self) -> None:
        """Report the click."""
        self.post_message(self.Pressed(self.mode))


class TopBar(Horizontal):
    """The line at the top.

    Args:
        here: the screen that the bar belongs to.
    """

    def __init__(self, here: str) -> None:
        super().__init__()
        self._here = here
        self._weights: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        """The run and its weights, then the screens."""
        yield Static("", id="top-run", markup=False)
        # The styles show one of the two, depending on the width.
        yield Static("", id="top-weights", markup=False, classes="-empty")
        yield Static("", id="top-weights-short", markup=False, classes="-empty")
        for number, mode in enumerate(SCREENS, 1):
            yield Tab(number, mode, here=mode == self._here)

    def leave_out(self, modes: Set[str]) -> None:
        """Hide the tabs of some screens, and show the others."""
        for tab in self.query(Tab):
            if tab.display == (tab.mode in modes):
                tab.display = tab.mode not in modes

    def show(self, run: str, weights: str, short: str, busy: str) -> None:
        """Show the run, its weights (``weights``, or ``short`` if narrow) and the current task.

        In a narrow terminal, the current task replaces the run's name.
        """
        narrow = self.screen.has_class("-narrow")
        name = Text(" ")
        if busy and narrow:
            name.append(busy, "italic")
        else:
            if not (narrow and run):
                name.append("miracle", "bold")
                name.append("  " if run else "")
            name.append(shown(run, 80))
            if busy:
                name.append(f"  {busy}", "italic")
        name.no_wrap = True
        name.overflow = "ellipsis"
        self.query_one("#top-run", Static).update(name, layout=False)
        for id, told in (("#top-weights", weights), ("#top-weights-short", short)):
            if told != self._weights.get(id):
                self._weights[id] = told
                self.query_one(id, Static).update(told)
                self.query_one(id).set_class(not told, "-empty")
