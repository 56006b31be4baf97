"""The interests of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from tui.display import chip, heat_scale, shown
from tui.widgets.heatmap import VIEWS, Heatmap, View
from tui.widgets.panel import Panel

if TYPE_CHECKING:
    from miracle_core.recommender.results import Recommendation


class InterestsPanel(Panel):
    """The heatmap, and a line that says how to read it."""

    def __init__(self) -> None:
        super().__init__("Interests", "i", id="interests")

    def compose_body(self) -> ComposeResult:
        """The heatmap above its legend."""
        yield Heatmap(id="heatmap")
        yield Static("", id="legend", markup=False)

    @property
    def heatmap(self) -> Heatmap:
        """The heatmap."""
        return self.query_one(Heatmap)

    def show_answer(self, answer: Recommendation | None, view: View) -> None:
        """Show an answer's interests."""
        self.heatmap.show_answer(answer, view)
        if answer is None:
            self.describe("")
            self.query_one("#legend", Static).update("", layout=False)
            return
        folded = Text()
        for capsule in answer.capsules:
            folded.append_text(chip(capsule.capsule))
            folded.append(f" {shown(capsule.label)} {capsule.strength:.2f}  ")
        self.describe(f"{len(answer.capsules)} · {VIEWS[view][0]}", folded)
        self._draw_legend()

    def on_resize(self) -> None:
        """How many interests are hidden depends on the width."""
        self._draw_legend()

    def _draw_legend(self) -> None:
        if self.heatmap.count == 0:
            return
        meaning, low, high = self.heatmap.legend
        scale = heat_scale(low, high, colours=not self.app.no_color)
        hidden = self.heatmap.hidden
        more = f"  ← → {hidden} more" if hidden > 0 else ""
        line = Text.assemble(scale, (more, "bold"), (f"  {meaning}", "dim"))
        line.no_wrap = True
        line.overflow = "ellipsis"
        self.query_one("#legend", Static).update(line, layout=False)
