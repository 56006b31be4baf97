"""A dialog with a text to read, or to copy by hand if the terminal has no clipboard."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import TextArea

from tui.screens.modal import Dialog


class TextScreen(Dialog[None]):
    """A text in a frame.

    Args:
        heading: the title.
        text: what to show.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "close", "Close")]

    def __init__(self, heading: str, text: str) -> None:
        super().__init__()
        self._heading, self._text = heading, text

    def compose(self) -> ComposeResult:
        """The text."""
        with Vertical(id="dialog"):
            yield TextArea(self._text, read_only=True, soft_wrap=True, compact=True, id="text")

    def on_mount(self) -> None:
        """Set the title, and focus the text."""
        dialog = self.query_one("#dialog")
        dialog.border_title = self._heading
        dialog.border_subtitle = "Esc closes"
        self.query_one(TextArea).focus()
