"""The line at the top: which run, which screens there are, what is under way."""

from __future__ import annotations

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

    def compose(self) -> ComposeResult:
        """The run, then the screens."""
        yield Static("", id="top-run", markup=False)
        for number, mode in enumerate(SCREENS, 1):
            yield Tab(number, mode, here=mode == self._here)

    def show(self, run: str, busy: str) -> None:
        """Say which run is open and what is under way; where there is little room, the latter."""
        name = Text.assemble(" ", ("miracle", "bold"), f"  {shown(run, 80)}" if run else "")
        if busy and self.screen.has_class("-narrow"):
            name = Text(f" {busy}", "italic")
        elif busy:
            name.append(f"  {busy}", "italic")
        name.no_wrap = True
        name.overflow = "ellipsis"
        self.query_one("#top-run", Static).update(name, layout=False)
