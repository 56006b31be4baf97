"""The history panel: a box to type titles, and the list of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.css.scalar import Scalar
from textual.message import Message
from textual.widgets import Input

from tui.display import chip, shown
from tui.history import Entry
from tui.widgets.panel import Panel
from tui.widgets.rows import Cell, Column, Rows
from tui.widgets.search_box import SearchBox

COMPLETIONS = 8


def _columns(*, interests: bool) -> tuple[Column, ...]:
    """The columns: number, switch, activated capsule, title and mark."""
    activated = (Column("", 8),) if interests else ()
    return (Column("", 4, right=True), Column("", 4), *activated, Column("", -1), Column("", 4))


class HistoryList(Rows):
    """The items of the history, oldest first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "edit('toggle')", "On/off"),
        Binding("d,delete,backspace", "edit('remove')", "Delete"),
        Binding("shift+up,K", "edit('up')", "Move up", show=False),
        Binding("shift+down,J", "edit('down')", "Move down", show=False),
    ]

    def action_edit(self, what: str) -> None:
        """Ask for an edit of the item under the cursor."""
        if self.count:
            self.post_message(HistoryPanel.Edit(what, self.cursor))


class Completions(Rows, can_focus=False):
    """The completions. The box keeps the focus, and the choice is always highlighted."""

    @property
    def shows_cursor(self) -> bool:
        """Always True: the list never has the focus."""
        return True


class HistoryPanel(Panel):
    """The box, its completions and the list. It requests edits but makes none itself."""

    class Edit(Message):
        """A request to edit an item: ``toggle``, ``remove``, ``up`` or ``down``."""

        def __init__(self, what: str, place: int) -> None:
            super().__init__()
            self.what, self.place = what, place

    class Typed(Message):
        """The text in the box has changed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Add(Message):
        """A request to add a title.

        Attributes:
            item: the completion chosen, or None.
            text: what was typed.
            new: whether the user chose to add a new item; if not, look the text up.
        """

        def __init__(self, item: int | None, text: str, *, new: bool) -> None:
            super().__init__()
            self.item, self.text, self.new = item, text, new

    def __init__(self) -> None:
        super().__init__("History", "l", id="history")
        self._found: list[int] = []
        self._waiting = False

    def compose_body(self) -> ComposeResult:
        """The box, the completions that float below it, and the list."""
        yield SearchBox("type a title, or paste several lines", id="search")
        yield Completions(Column("", -1), id="completions")
        yield HistoryList(*_columns(interests=True), id="history-list")

    def on_mount(self) -> None:
        """Hide the completions until something is typed."""
        self.completions.display = False

    @property
    def box(self) -> SearchBox:
        """The box."""
        return self.query_one(SearchBox)

    @property
    def completions(self) -> Completions:
        """The list of completions."""
        return self.query_one(Completions)

    @property
    def list(self) -> HistoryList:
        """The list of history items."""
        return self.query_one(HistoryList)

    def show_history(
        self,
        entries: Sequence[Entry],
        capsules: Mapping[int, int | None] | None,
        unread: Set[int],
        *,
        failing: bool,
    ) -> None:
        """Show the items.

        Args:
            entries: the history.
            capsules: for each index, the capsule that the item activates, or None; items that
                don't count are missing. None for a system without interests.
            unread: indices of items that are too old to be read.
            failing: whether new items can't be encoded.
        """
        self.list.columns = _columns(interests=capsules is not None)

        def cells(place: int) -> Sequence[Cell]:
            entry = entries[place]
            new = entry.item is None
            style = "dim" if place in unread else "" if entry.on else "dim strike"
            mark = "new" if new and not failing else "!" if new else ""
            activated: list[Cell] = []
            if capsules is not None:
                activated = [chip(capsules.get(place) if entry.on else None)]
            return (
                f"{place + 1}",
                "[x]" if entry.on else "[ ]",
                *activated,
                Text(shown(entry.title), style),
                Text(mark, "bold"),
            )

        self.list.show(len(entries), cells)

    def show_completions(
        self, text: str, found: Sequence[int], title: Callable[[int], str], *, new_titles: bool
    ) -> None:
        """Show the completions. Last comes the choice to add a new item, if that is possible."""
        self._found, self._waiting = list(found), False
        count = len(found) + new_titles
        if not text.strip() or not count:
            self.hide_completions()
            return
        new = Text.assemble(("+ add “", "bold"), shown(text, 60), ("” as a new item", "bold"))

        def cells(place: int) -> Sequence[Cell]:
            return (shown(title(self._found[place])) if place < len(self._found) else new,)

        completions = self.completions
        completions.show(count, cells, cursor=0)
        # Setting the height redoes the layout of the whole screen, so do it only on a change.
        if completions.styles.height != Scalar.from_number(count + 2):
            completions.styles.height = count + 2
        completions.display = True

    def hide_completions(self) -> None:
        """Hide the completions."""
        self._found = []
        self.completions.display = False

    def forget_completions(self) -> None:
        """Drop the completions; new ones are being looked up."""
        self.hide_completions()
        self._waiting = True

    def clear_box(self) -> None:
        """Empty the box for the next title."""
        with self.prevent(Input.Changed):
            self.box.value = ""
        self.hide_completions()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Report every change of the text."""
        event.stop()
        # Until new completions arrive, Enter must not take one of an older text.
        self._waiting = True
        if not event.value.strip():
            self.hide_completions()
        self.post_message(self.Typed(event.value))

    def on_search_box_pick(self, event: SearchBox.Pick) -> None:
        """Move among the completions; without them, down leads to the list."""
        event.stop()
        if self.completions.display:
            self.completions.cursor += event.by
        elif event.by > 0:
            self.list.focus()

    def on_search_box_take(self, event: SearchBox.Take) -> None:
        """Add the chosen completion."""
        event.stop()
        self._take(self.completions.cursor)

    def on_rows_selected(self, event: Rows.Selected) -> None:
        """A double click on a completion adds it."""
        if event.rows is self.completions:
            event.stop()
            self._take(event.place)

    def _take(self, place: int) -> None:
        text = self.box.value.strip()
        if not text:
            return
        item = None if self._waiting or place >= len(self._found) else self._found[place]
        self.post_message(self.Add(item, text, new=item is None and not self._waiting))
