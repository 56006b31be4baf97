"""Why the item under the cursor is recommended."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from tui.display import shown
from tui.why import NEAR, Explained, Near, why_text
from tui.widgets.panel import Panel


class WhyPanel(Panel):
    """A text that scrolls."""

    def __init__(self) -> None:
        super().__init__("Why", "w", id="why")
        self._shown: Explained | None = None
        self._near: Near | None = None

    def compose_body(self) -> ComposeResult:
        """The text."""
        with VerticalScroll(id="why-scroll"):
            yield Static("", id="why-text", markup=False)

    @property
    def explained(self) -> Explained | None:
        """What is explained."""
        return self._shown

    def explain(self, explained: Explained) -> None:
        """Explain an item; what is near it may follow."""
        item = explained.item
        same = self._shown is not None and self._shown.item.item == item.item
        self._shown = explained
        if not same:
            self._near = None
            self.query_one("#why-scroll").scroll_home(animate=False)
        self.describe("", shown(item.title))
        self._draw()

    def show_near(self, item: int, near: Near) -> None:
        """Add what is near, if the item is still the one explained."""
        if self._shown is not None and self._shown.item.item == item:
            self._near = near
            # Lines were kept free for them: nothing else moves.
            self._draw(layout=len(near) != NEAR)

    def clear(self, text: str = "") -> None:
        """Explain nothing."""
        self._shown = self._near = None
        self.describe("")
        self.query_one("#why-text", Static).update(text)

    def on_resize(self) -> None:
        """Bars follow the width."""
        self._draw()

    def _draw(self, *, layout: bool = True) -> None:
        if self._shown is not None:
            # One for the scroll bar, which must not change what is beside it.
            width = max(self.query_one("#why-scroll").size.width - 2, 20)
            text = why_text(self._shown, self._near, width)
            self.query_one("#why-text", Static).update(text, layout=layout)
