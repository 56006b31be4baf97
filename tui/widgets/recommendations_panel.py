"""The recommendations panel: each item with the interest that won it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult

from tui.display import chip, held_out_rank, shown
from tui.widgets.panel import Panel
from tui.widgets.rows import Cell, Column, Rows

if TYPE_CHECKING:
    from miracle_core.recommender.results import Recommended
    from tui.exploration import Exploration


class RecommendationsPanel(Panel):
    """The list of recommendations. A held-out item that is not in it is shown below."""

    def __init__(self) -> None:
        super().__init__("Recommendations", "r", id="recommendations")
        self._shown: list[Recommended] = []

    def compose_body(self) -> ComposeResult:
        """The list."""
        yield Rows(*_columns(interests=True), id="recommendation-list")

    @property
    def list(self) -> Rows:
        """The list."""
        return self.query_one("#recommendation-list", Rows)

    @property
    def chosen(self) -> Recommended | None:
        """The item under the cursor."""
        place = self.list.cursor
        return self._shown[place] if place < len(self._shown) else None

    def at(self, place: int) -> Recommended:
        """The item in a row."""
        return self._shown[place]

    def show_exploration(self, exploration: Exploration) -> None:
        """Show the last answer's items."""
        listed = exploration.listed
        below = exploration.held_out_below
        self._shown = [*listed, below] if below else listed
        answer = exploration.answer
        # Use the answer's target: the history may already belong to another user.
        target = answer.target if answer else None
        named = bool(answer and answer.capsules)
        if answer is not None:
            self.list.columns = _columns(interests=named)

        def cells(place: int) -> Sequence[Cell]:
            item = self._shown[place]
            held_out = target is not None and item.item == target.item
            title = Text(shown(item.title))
            if held_out:
                said = "★ held out  " if item.rank else "★ held out, left out with the seen  "
                title = Text.assemble((said, "bold"), title)
            return (
                Text(held_out_rank(item.rank), "bold" if held_out else ""),
                "" if item is below else _move(exploration.moves, item.item),
                *([chip(item.capsule)] if named else []),
                title,
                f"{item.score:,.2f}",
            )

        self.list.show(len(self._shown), cells)
        self.describe(_detail(exploration), _folded(listed))


def _columns(*, interests: bool) -> tuple[Column, ...]:
    """The columns: rank, move, winning interest, title and score."""
    return (
        Column("#", 5, right=True),
        Column("move", 6, right=True),
        *((Column("interest", 9),) if interests else ()),
        Column("title", -1),
        Column("score", 8, right=True),
    )


def _move(moves: dict[int, int | None], item: int) -> Text:
    if item not in moves:
        return Text("")
    by = moves[item]
    if by is None:
        return Text("new", "bold")
    if by == 0:
        return Text("=", "dim")
    return Text(f"▲{by}" if by > 0 else f"▼{-by}")


def _detail(exploration: Exploration) -> str:
    if exploration.answer is None:
        return ""
    parts = [f"top {exploration.top_k}"]
    if exploration.capsule is not None:
        label = next(
            c.label for c in exploration.answer.capsules if c.capsule == exploration.capsule
        )
        parts.append(f"only {exploration.capsule} {shown(label, 24)}")
    parts.append(f"seen: {exploration.rule}")
    if exploration.shop_rules:
        parts.append(f"rules: {', '.join(exploration.shop_rules)}")
    return " · ".join(parts)


def _folded(listed: Sequence[Recommended]) -> Text:
    if not listed:
        return Text("")
    best = listed[0]
    mark = chip(best.capsule)
    return Text.assemble(mark, " " if mark else "", f"{shown(best.title)} {best.score:,.2f}")
