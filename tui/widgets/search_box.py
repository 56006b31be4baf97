"""The box for titles, with completions while typing and support for pasted lines."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class SearchBox(Input):
    """A text box that sends messages for up, down, Enter and Esc, to drive the completions."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "pick(-1)", "Completion above", show=False),
        Binding("down", "pick(1)", "Completion below", show=False),
        Binding("enter", "take", "Add"),
        Binding("escape", "leave", "Leave the box"),
    ]

    class Pick(Message):
        """A request to move to another completion."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    class Take(Message):
        """A request to add the chosen completion or the typed text."""

    class Leave(Message):
        """The user wants to leave the box."""

    class Lines(Message):
        """Several lines were pasted."""

        def __init__(self, lines: list[str]) -> None:
            super().__init__()
            self.lines = lines

    class Help(Message):
        """A question mark was typed into the empty box. No title starts with one."""

    def __init__(self, placeholder: str, *, id: str) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True, select_on_focus=False)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Whether the box takes a key; the footer shows only keys that it does not take.

        It takes ``/``, whose name Textual can't translate, but no question mark if it is empty.
        """
        if key == "question_mark":
            return bool(self.value)
        return key == "slash" or super().check_consume_key(key, character)

    def watch_value(self, old: str, new: str) -> None:
        """Show or hide the question mark in the footer."""
        if bool(old) != bool(new):
            self.refresh_bindings()

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
        """Report several pasted lines as such. A single line goes into the box, as usual."""
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
