"""A list with columns. Only visible rows are drawn, so a million rows cost no more than ten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.display import fitted, flexible

Cell = str | Text
Cells = Callable[[int], Sequence[Cell]]


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        title: the header.
        width: the width in cells; a negative width is a share of what the others leave.
        right: whether cells are right-aligned.
    """

    title: str
    width: int
    right: bool = False


def _no_cells(_: int) -> Sequence[Cell]:
    return ()


class Rows(ScrollView, can_focus=True):
    """Rows of cells with a cursor.

    A function supplies the cells, and is called only for visible rows. Messages contain the index
    of a row; the owner of the list knows what it stands for.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--head", "rows--cursor", "rows--empty"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "Up", show=False),
        Binding("down,j", "cursor(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "cursor(-1000000000)", "First", show=False),
        Binding("end", "cursor(1000000000)", "Last", show=False),
        Binding("enter", "select", "Open", show=False),
    ]

    cursor: reactive[int] = reactive(0)

    class Highlighted(Message):
        """The cursor has moved to another row."""

        def __init__(self, rows: Rows, place: int) -> None:
            super().__init__()
            self.rows, self.place = rows, place

        @property
        def control(self) -> Rows:
            """The list."""
            return self.rows

    class Selected(Highlighted):
        """A row was chosen with Enter or a double click."""

    class HeadPressed(Message):
        """The header of a column was clicked."""

        def __init__(self, rows: Rows, column: int) -> None:
            super().__init__()
            self.rows, self.column = rows, column

        @property
        def control(self) -> Rows:
            """The list."""
            return self.rows

    def __init__(
        self,
        *columns: Column,
        id: str | None = None,
        classes: str | None = None,
        empty: str = "",
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.columns: tuple[Column, ...] = columns
        self.count = 0
        self.empty = empty
        self._cells: Cells = _no_cells

    def show(self, count: int, cells: Cells, *, cursor: int | None = None) -> None:
        """Show other rows. The cursor stays on its index if there is such a row."""
        self.count, self._cells = count, cells
        wanted = self.cursor if cursor is None else cursor
        self.set_reactive(Rows.cursor, min(max(wanted, 0), max(count - 1, 0)))
        self._measure()
        self.scroll_to_cursor()
        self.refresh()

    def say(self, text: str) -> None:
        """Set the text that is shown if there are no rows."""
        self.empty = text
        self.refresh()

    # Headers and layout, which subclasses may override.

    @property
    def n_heads(self) -> int:
        """The number of header lines, which do not scroll."""
        return int(any(column.title for column in self.columns))

    def layout_columns(self) -> list[Column]:
        """The columns with their widths in cells."""
        widths = flexible([column.width for column in self.columns], self.size.width - 1)
        return [
            Column(column.title, width, column.right)
            for column, width in zip(self.columns, widths, strict=True)
        ]

    def head_cells(self, line: int) -> Sequence[Cell]:
        """The cells of a header line."""
        return [column.title for column in self.columns]

    def column_at(self, x: int) -> int:
        """The index of the column at a horizontal position."""
        for number, column in enumerate(self.layout_columns()):
            x -= column.width
            if x < 0:
                return number
        return len(self.columns) - 1

    # Drawing.

    def render_line(self, y: int) -> Strip:
        """Draw one line of the widget."""
        width = self.size.width
        base = self.rich_style
        if self.count == 0:
            return self._empty_line(y, width, base)
        if y < self.n_heads:
            style = self.get_component_rich_style("rows--head")
            return self._strip(self.head_cells(y), width, style)
        row = y - self.n_heads + self.scroll_offset.y
        if row >= self.count:
            return Strip.blank(width, base)
        style = base
        if row == self.cursor and self.shows_cursor:
            style = self.get_component_rich_style("rows--cursor")
        return self._strip(self._cells(row), width, style)

    @property
    def shows_cursor(self) -> bool:
        """Whether the row under the cursor is highlighted."""
        return self.has_focus

    def _strip(self, cells: Sequence[Cell], width: int, style: Style) -> Strip:
        segments: list[Segment] = []
        for column, cell in zip(self.layout_columns(), cells, strict=False):
            space = 1 if column.width > 1 else 0
            line = fitted(cell, column.width - space, right=column.right)
            segments += line.render(self.app.console)
            segments.append(Segment(" " * space))
        kept = [Segment(s.text, s.style) for s in segments if not s.control]
        return Strip(kept).apply_style(style).adjust_cell_length(width, style)

    def _empty_line(self, y: int, width: int, base: Style) -> Strip:
        style = self.get_component_rich_style("rows--empty")
        text = Text(self.empty)
        lines = text.wrap(self.app.console, max(width - 2, 1))
        if y >= len(lines):
            return Strip.blank(width, base)
        line = fitted(lines[y], width - 1)
        segments = [Segment(" "), *line.render(self.app.console)]
        return Strip([s for s in segments if not s.control]).apply_style(style)

    # Moving.

    def on_resize(self) -> None:
        """Adapt to the new width."""
        self._measure()
        self.scroll_to_cursor()

    def _measure(self) -> None:
        self.virtual_size = Size(self.size.width, self.count + self.n_heads)

    def watch_cursor(self) -> None:
        """Keep the cursor in view, and report its row."""
        self.scroll_to_cursor()
        self.refresh()
        if self.count:
            self.post_message(self.Highlighted(self, self.cursor))

    def validate_cursor(self, cursor: int) -> int:
        """Keep the cursor on a row."""
        return min(max(cursor, 0), max(self.count - 1, 0))

    def scroll_to_cursor(self) -> None:
        """Scroll the cursor's row into view."""
        if self.count and self.size.height > self.n_heads:
            height = self.n_heads + 1
            self.scroll_to_region(
                Region(0, self.cursor, 1, height), animate=False, force=True, immediate=True
            )

    def action_cursor(self, by: int) -> None:
        """Move the cursor."""
        self.cursor += by

    def action_page(self, pages: int) -> None:
        """Move the cursor by whole pages."""
        self.cursor += pages * max(self.size.height - self.n_heads - 1, 1)

    def action_select(self) -> None:
        """Choose the cursor's row."""
        if self.count:
            self.post_message(self.Selected(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor, and a double click chooses. Header clicks are reported."""
        offset = event.get_content_offset(self)
        if offset is None or not self.count:
            return
        event.stop()
        if offset.y < self.n_heads:
            self.post_message(self.HeadPressed(self, self.column_at(offset.x)))
            return
        row = offset.y - self.n_heads + self.scroll_offset.y
        if row < self.count:
            self.cursor = row
            if event.chain == 2:
                self.action_select()
