"""The interests panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from tui.display import chip, heat_scale, shown
from tui.interest_text import interests_text
from tui.widgets.heatmap import VIEWS, Heatmap, View
from tui.widgets.panel import Panel

if TYPE_CHECKING:
    from miracle_core.recommender.results import Recommendation


class InterestsPanel(Panel):
    """The heatmap with a legend.

    If the interests were not made by routing, they are shown as a list instead.
    """

    def __init__(self) -> None:
        super().__init__("Interests", "i", id="interests")
        self._answer: Recommendation | None = None

    def compose_body(self) -> ComposeResult:
        """The heatmap above its legend."""
        yield Heatmap(id="heatmap")
        yield Static("", id="legend", markup=False)
        with VerticalScroll(id="interest-scroll"):
            yield Static("", id="interest-list", markup=False)

    @property
    def heatmap(self) -> Heatmap:
        """The heatmap."""
        return self.query_one(Heatmap)

    def show_answer(self, answer: Recommendation | None, view: View) -> None:
        """Show an answer's interests."""
        self._answer = answer
        self.heatmap.show_answer(answer, view)
        listed = answer is not None and answer.trace is None
        self.heatmap.display = self.query_one("#legend").display = not listed
        self.query_one("#interest-scroll").display = listed
        if answer is None:
            self.describe("")
            self.query_one("#legend", Static).update("", layout=False)
            return
        folded = Text()
        for capsule in answer.capsules:
            folded.append_text(chip(capsule.capsule))
            folded.append(f" {shown(capsule.label)} {capsule.strength:.2f}  ")
        view_name = "" if listed else f" · {VIEWS[view][0]}"
        self.describe(f"{len(answer.capsules)}{view_name}", folded)
        self._draw()

    def on_resize(self) -> None:
        """Redraw: the width determines how many interests fit."""
        self._draw()

    def _draw(self) -> None:
        if self._answer is not None and self._answer.trace is None:
            width = max(self.size.width - 20, 10)
            self.query_one("#interest-list", Static).update(interests_text(self._answer, width))
        else:
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
