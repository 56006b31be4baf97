"""The Why panel: why the item under the cursor is recommended."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from tui.display import shown
from tui.why import NEAR, Explained, Near, why_text
from tui.widgets.panel import Panel


class WhyPanel(Panel):
    """A scrolling text that explains one item."""

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
        """What is being explained, or None."""
        return self._shown

    def explain(self, explained: Explained) -> None:
        """Explain an item; the nearest items may follow later."""
        item = explained.item
        same = self._shown is not None and self._shown.item.item == item.item
        self._shown = explained
        if not same:
            self._near = None
            self.query_one("#why-scroll").scroll_home(animate=False)
        self.describe("", shown(item.title))
        self._draw()

    def show_near(self, item: int, near: Near) -> None:
        """Add the nearest items, if the item is still being explained."""
        if self._shown is not None and self._shown.item.item == item:
            self._near = near
            # NEAR lines were reserved, so with exactly NEAR items the layout stays.
            self._draw(layout=len(near) != NEAR)

    def clear(self, text: str = "") -> None:
        """Explain nothing."""
        self._shown = self._near = None
        self.describe("")
        self.query_one("#why-text", Static).update(text)

    def on_resize(self) -> None:
        """Fit the bars to the new width."""
        self._draw()

    def _draw(self, *, layout: bool = True) -> None:
        if self._shown is not None:
            # Leave room for the scroll bar, so that its appearing changes nothing else.
            width = max(self.query_one("#why-scroll").size.width - 2, 20)
            text = why_text(self._shown, self._near, width)
            self.query_one("#why-text", Static).update(text, layout=layout)
