"""Why the item under the cursor is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from tui.display import shown
from tui.why import NEAR, why_text
from tui.widgets.panel import Panel

if TYPE_CHECKING:
    from miracle_core.recommender.results import Recommendation, Recommended

Near = Sequence[tuple[str, float]]


class WhyPanel(Panel):
    """A text that scrolls."""

    def __init__(self) -> None:
        super().__init__("Why", "w", id="why")
        self._shown: tuple[Recommendation, Recommended, str] | None = None
        self._near: Near | None = None

    def compose_body(self) -> ComposeResult:
        """The text."""
        with VerticalScroll(id="why-scroll"):
            yield Static("", id="why-text", markup=False)

    @property
    def item(self) -> Recommended | None:
        """The item explained."""
        return self._shown[1] if self._shown else None

    def explain(self, answer: Recommendation, item: Recommended, text: str) -> None:
        """Explain an item; what is near it may follow."""
        same = self._shown is not None and self._shown[1].item == item.item
        self._shown = answer, item, text
        if not same:
            self._near = None
            self.query_one("#why-scroll").scroll_home(animate=False)
        self.describe("", shown(item.title))
        self._draw()

    def show_near(self, item: int, near: Near) -> None:
        """Add what is near, if the item is still the one explained."""
        if self._shown is not None and self._shown[1].item == item:
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
            text = why_text(*self._shown, self._near, width)
            self.query_one("#why-text", Static).update(text, layout=layout)
