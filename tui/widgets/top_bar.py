"""The line at the top: which run, which screens there are, what is under way."""

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
    """The name of a screen, to be clicked."""

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
        """Tell."""
        self.post_message(self.Pressed(self.mode))


class TopBar(Horizontal):
    """One line.

    Args:
        here: the screen it stands on.
    """

    def __init__(self, here: str) -> None:
        super().__init__()
        self._here = here
        self._weights: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        """The run and its weights, then the screens."""
        yield Static("", id="top-run", markup=False)
        # The styles show one of both, by the room there is.
        yield Static("", id="top-weights", markup=False, classes="-empty")
        yield Static("", id="top-weights-short", markup=False, classes="-empty")
        for number, mode in enumerate(SCREENS, 1):
            yield Tab(number, mode, here=mode == self._here)

    def leave_out(self, modes: Set[str]) -> None:
        """Show the screens but some that have nothing to show of this run."""
        for tab in self.query(Tab):
            if tab.display == (tab.mode in modes):
                tab.display = tab.mode not in modes

    def show(self, run: str, weights: str, short: str, busy: str) -> None:
        """Say which run is open, which weights answer (in short, too), and what is under way.

        Where there is little room, what is under way stands in the place of the run's name.
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
