"""A framed part of a screen that folds to one line where there is no room."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static


class FoldedLine(Static, can_focus=True):
    """What is left of a folded panel: its name, and what is in it. Reaching it unfolds it."""

    def on_focus(self) -> None:
        """Tab leads into the panel."""
        self._ask()

    def on_click(self) -> None:
        """So does a click."""
        self._ask()

    def _ask(self) -> None:
        if isinstance(self.parent, Panel):
            self.post_message(Panel.Unfold(self.parent))


class Panel(Vertical):
    """A frame with a title; subclasses compose what is inside in :meth:`compose_body`.

    Args:
        name: the title.
        key: the key that leads here, shown in the title.
    """

    class Unfold(Message):
        """A folded panel wants to be open."""

        def __init__(self, panel: Panel) -> None:
            super().__init__()
            self.panel = panel

    def __init__(self, name: str, key: str, *, id: str) -> None:
        super().__init__(id=id, classes="panel")
        self.heading, self.key = name, key
        self._detail = ""
        self._folded = Text("")

    def compose(self) -> ComposeResult:
        """The folded line, and the body in its stead."""
        yield FoldedLine(markup=False)
        with Vertical(classes="body"):
            yield from self.compose_body()

    def compose_body(self) -> ComposeResult:
        """What is inside."""
        raise NotImplementedError

    def on_mount(self) -> None:
        """Draw the title."""
        self.describe("")

    def describe(self, detail: str, folded: str | Text = "") -> None:
        """Say what is in the panel.

        Args:
            detail: beside the title.
            folded: in the folded line.
        """
        self._detail = detail
        title = Text.assemble((self.heading, "bold"), f" {detail}" if detail else "")
        # Titles are markup unless they are content: names of capsules come from data.
        self.border_title = _content(title)
        self.border_subtitle = _content(Text(self.key)) if self.key else ""
        line = Text.assemble(" ▸ ", (self.heading, "bold"), "  ", folded or detail)
        line.no_wrap = True
        line.overflow = "ellipsis"
        if self.is_mounted:
            self.query_one(FoldedLine).update(line, layout=False)

    @property
    def folded(self) -> bool:
        """Whether only the line is left."""
        return self.has_class("-folded")

    @folded.setter
    def folded(self, folded: bool) -> None:
        self.set_class(folded, "-folded")


def _content(text: Text) -> Any:
    from textual.content import Content

    return Content.from_rich_text(text)
