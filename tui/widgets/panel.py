"""A framed part of a screen, which folds to one line if there is no room."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static


class FoldedLine(Static, can_focus=True):
    """The line that a folded panel leaves: its name and content. Focusing it unfolds it."""

    def on_focus(self) -> None:
        """Unfold the panel when Tab reaches it."""
        self._ask()

    def on_click(self) -> None:
        """Unfold the panel on a click."""
        self._ask()

    def _ask(self) -> None:
        if isinstance(self.parent, Panel):
            self.post_message(Panel.Unfold(self.parent))


class Panel(Vertical):
    """A frame with a title. Subclasses compose its content in :meth:`compose_body`.

    Args:
        name: the title.
        key: the key that focuses the panel, shown on its frame.
    """

    class Unfold(Message):
        """A request to unfold a panel."""

        def __init__(self, panel: Panel) -> None:
            super().__init__()
            self.panel = panel

    def __init__(self, name: str, key: str, *, id: str) -> None:
        super().__init__(id=id, classes="panel")
        self.heading, self.key = name, key
        self._detail = ""
        self._folded = Text("")

    def compose(self) -> ComposeResult:
        """The folded line and the body; only one of them is shown."""
        yield FoldedLine(markup=False)
        with Vertical(classes="body"):
            yield from self.compose_body()

    def compose_body(self) -> ComposeResult:
        """The content of the panel."""
        raise NotImplementedError

    def on_mount(self) -> None:
        """Draw the title."""
        self.describe("")

    def describe(self, detail: str, folded: str | Text = "") -> None:
        """Describe the content of the panel.

        Args:
            detail: the text beside the title.
            folded: the text of the folded line; empty for ``detail``.
        """
        self._detail = detail
        title = Text.assemble((self.heading, "bold"), f" {detail}" if detail else "")
        # Textual parses plain titles as markup, and names of capsules come from data.
        self.border_title = _content(title)
        self.border_subtitle = _content(Text(self.key)) if self.key else ""
        line = Text.assemble(" ▸ ", (self.heading, "bold"), "  ", folded or detail)
        line.no_wrap = True
        line.overflow = "ellipsis"
        if self.is_mounted:
            self.query_one(FoldedLine).update(line, layout=False)

    @property
    def folded(self) -> bool:
        """Whether only the folded line is shown."""
        return self.has_class("-folded")

    @folded.setter
    def folded(self, folded: bool) -> None:
        self.set_class(folded, "-folded")


def _content(text: Text) -> Any:
    from textual.content import Content

    return Content.from_rich_text(text)
