"""The box for titles: completions while typing, many lines at once when pasted."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class SearchBox(Input):
    """A text box that leaves up, down, Enter and Esc to whoever shows the completions."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "pick(-1)", "Completion above", show=False),
        Binding("down", "pick(1)", "Completion below", show=False),
        Binding("enter", "take", "Add"),
        Binding("escape", "leave", "Leave the box"),
    ]

    class Pick(Message):
        """Another completion is meant."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    class Take(Message):
        """What is chosen, or typed, is to be added."""

    class Leave(Message):
        """The person is done typing."""

    class Lines(Message):
        """Several lines were pasted."""

        def __init__(self, lines: list[str]) -> None:
            super().__init__()
            self.lines = lines

    class Help(Message):
        """A question mark was typed into the empty box: no title begins so."""

    def __init__(self, placeholder: str, *, id: str) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True, select_on_focus=False)

    def action_pick(self, by: int) -> None:
        """Ask for another completion."""
        self.post_message(self.Pick(by))

    def action_take(self) -> None:
        """Ask to add."""
        self.post_message(self.Take())

    def action_leave(self) -> None:
        """Ask to leave."""
        self.post_message(self.Leave())

    def _on_paste(self, event: events.Paste) -> None:
        """Several lines are told as such; one goes into the box, which is the default."""
        lines = [line.strip() for line in event.text.splitlines() if line.strip()]
        if len(lines) > 1:
            event.stop()
            event.prevent_default()
            self.post_message(self.Lines(lines))

    async def _on_key(self, event: events.Key) -> None:
        if event.character == "?" and not self.value:
            event.stop()
            event.prevent_default()
            self.post_message(self.Help())
