"""Items x interests: similarity, routing, or position weight x routing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive

from tui.display import bar, chip, heat_cell, shown
from tui.widgets.rows import Cell, Column, Rows

if TYPE_CHECKING:
    from miracle_core.recommender.results import Floats, Recommendation, Trace

View = Literal["routing", "share", "similarity"]
VIEWS: dict[View, tuple[str, str]] = {
    "routing": ("routing", "each row sums to 1"),
    "share": ("weight \N{MULTIPLICATION SIGN} routing", "what an item adds"),
    "similarity": ("similarity", "◆ activated"),
}
_TITLE, _WEIGHT, _CELL, _MOST = 14, 7, 9, 17


class Heatmap(Rows):
    """One row per history item, one column per interest, strongest first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "column(-1)", "Interest to the left", show=False),
        Binding("right", "column(1)", "Interest to the right", show=False),
    ]

    column_cursor: reactive[int] = reactive(0)

    class CapsuleChosen(Message):
        """An interest was chosen with Enter or by a click on its header."""

        def __init__(self, capsule: int) -> None:
            super().__init__()
            self.capsule = capsule

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._answer: Recommendation | None = None
        self._trace: Trace | None = None
        self._view: View = "routing"
        self._first = 0

    def show_answer(self, answer: Recommendation | None, view: View) -> None:
        """Show how routing made the interests of an answer; nothing if routing was not used."""
        trace = answer.trace if answer else None
        self._answer = answer if trace else None
        self._trace, self._view = trace, view
        if answer is None or trace is None:
            self.columns = ()
            self.show(0, lambda _: ())
            return
        self.set_reactive(Heatmap.column_cursor, min(self.column_cursor, len(answer.capsules) - 1))
        self._choose_columns()
        self.show(len(trace.importance), self._row)

    @property
    def legend(self) -> tuple[str, str, str]:
        """What the view shows, and the values of its coldest and hottest cells."""
        low, high = self._range()
        return VIEWS[self._view][1], f"{low:.2f}", f"{high:.2f}"

    @property
    def hidden(self) -> int:
        """The number of interests that do not fit."""
        if self._answer is None:
            return 0
        return len(self._answer.capsules) - self._n_shown

    @property
    def n_heads(self) -> int:
        """Three header lines: marks, labels and strengths."""
        return 3 if self._answer else 0

    def head_cells(self, line: int) -> Sequence[Cell]:
        """The interest of each column."""
        assert self._answer is not None
        active = self._answer.capsules[self._first : self._first + self._n_shown]
        if line == 0:
            marks = []
            for number, capsule in enumerate(active, start=self._first):
                chosen = self.has_focus and number == self.column_cursor
                marks.append(Text.assemble(chip(capsule.capsule), "◂" if chosen else ""))
            return ["", "", *marks]
        if line == 1:
            return ["item", "weight", *(shown(capsule.label) for capsule in active)]
        width = self.columns[2].width - 7 if len(self.columns) > 2 else 0
        return [
            "strength",
            "",
            *(f"{c.strength:.2f} {bar(c.strength, max(width, 0))}" for c in active),
        ]

    def _row(self, row: int) -> list[Cell]:
        answer, trace = self._answer, self._trace
        assert answer is not None and trace is not None
        place = row + trace.first
        item = answer.history[place]
        low, high = self._range()
        values = self._values()[row]
        cells: list[Cell] = [
            Text(f"{place + 1:>2} {shown(item.title)}"),
            f"{float(trace.importance[row]):.2f}",
        ]
        for number in range(self._first, self._first + self._n_shown):
            value = float(values[number])
            mine = answer.capsules[number].capsule == item.capsule
            text = f"{value:.2f}" + (" ◆" if mine and self._view == "similarity" else "")
            heat = (value - low) / (high - low) if high > low else 0.0
            width = self.columns[number - self._first + 2].width
            cells.append(heat_cell(text, heat, width - 1, colours=not self.app.no_color))
        return cells

    def _values(self) -> Floats:
        """The values of the view, [items, interests]."""
        trace = self._trace
        assert self._answer is not None and trace is not None
        if self._view == "similarity":
            return trace.similarity[:, [c.capsule for c in self._answer.capsules]]
        if self._view == "share":
            return trace.importance[:, None] * trace.routing
        return trace.routing

    def _range(self) -> tuple[float, float]:
        if self._answer is None or self._view == "routing":
            return 0.0, 1.0
        values = self._values()
        return (float(values.min()) if self._view == "similarity" else 0.0), float(values.max())

    def on_resize(self) -> None:
        """Show as many interests as fit."""
        self._choose_columns()

    @property
    def _n_shown(self) -> int:
        """The number of interests with a column; it changes only once a resize is handled."""
        return max(len(self.columns) - 2, 0)

    def _n_fitting(self) -> int:
        if self._answer is None:
            return 0
        room = (self.size.width - _TITLE - _WEIGHT) // _CELL
        return min(max(room, 1), len(self._answer.capsules))

    def _choose_columns(self) -> None:
        n = self._n_fitting()
        if self.column_cursor < self._first:
            self._first = self.column_cursor
        elif self.column_cursor >= self._first + n:
            self._first = self.column_cursor - n + 1
        total = len(self._answer.capsules) if self._answer else 0
        self._first = min(self._first, max(total - n, 0))
        room = max(self.size.width - _WEIGHT - 1, 0)
        width = min(max((room - 18) // max(n, 1), _CELL), _MOST)
        title = max(room - n * width, _TITLE)
        self.columns = (
            Column("", title),
            Column("", _WEIGHT, right=True),
            *(Column("", width) for _ in range(n)),
        )

    def watch_column_cursor(self) -> None:
        """Scroll the interest into view."""
        self._choose_columns()
        self.refresh()

    def validate_column_cursor(self, column: int) -> int:
        """Keep the cursor on an interest."""
        last = len(self._answer.capsules) - 1 if self._answer else 0
        return min(max(column, 0), max(last, 0))

    def action_column(self, by: int) -> None:
        """Go to another interest."""
        self.column_cursor += by

    def action_select(self) -> None:
        """Choose the interest under the cursor."""
        if self._answer is not None:
            capsule = self._answer.capsules[self.column_cursor].capsule
            self.post_message(self.CapsuleChosen(capsule))

    def on_rows_head_pressed(self, event: Rows.HeadPressed) -> None:
        """Choose the interest whose header was clicked."""
        event.stop()
        if event.column >= 2:
            self.column_cursor = self._first + event.column - 2
            self.action_select()
