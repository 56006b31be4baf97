"""The history: a box to type titles into, and the items so far."""

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
    """Number, switch, what the item activates, title, mark."""
    activated = (Column("", 8),) if interests else ()
    return (Column("", 4, right=True), Column("", 4), *activated, Column("", -1), Column("", 4))


class HistoryList(Rows):
    """The items, oldest first."""

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
    """What may be meant. The box keeps the keys; the choice is always marked."""

    @property
    def shows_cursor(self) -> bool:
        """Always."""
        return True


class HistoryPanel(Panel):
    """The box, its completions, and the list. It asks for edits; it makes none."""

    class Edit(Message):
        """``toggle``, ``remove``, ``up`` or ``down`` the item at a place."""

        def __init__(self, what: str, place: int) -> None:
            super().__init__()
            self.what, self.place = what, place

    class Typed(Message):
        """What stands in the box has changed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Add(Message):
        """A title is to be added.

        Attributes:
            item: the completion chosen, or None.
            text: what was typed.
            new: whether it was said to be a new item; else the text may mean a catalogue item.
        """

        def __init__(self, item: int | None, text: str, *, new: bool) -> None:
            super().__init__()
            self.item, self.text, self.new = item, text, new

    def __init__(self) -> None:
        super().__init__("History", "l", id="history")
        self._found: list[int] = []
        self._waiting = False

    def compose_body(self) -> ComposeResult:
        """The box, the completions floating below it, the list."""
        yield SearchBox("type a title, or paste several lines", id="search")
        yield Completions(Column("", -1), id="completions")
        yield HistoryList(*_columns(interests=True), id="history-list")

    def on_mount(self) -> None:
        """Nothing is being typed yet."""
        self.completions.display = False

    @property
    def box(self) -> SearchBox:
        """The box."""
        return self.query_one(SearchBox)

    @property
    def completions(self) -> Completions:
        """What may be meant."""
        return self.query_one(Completions)

    @property
    def list(self) -> HistoryList:
        """The items so far."""
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
            capsules: place to the capsule activated, or None for an item that activates none;
                places that don't count are missing. None of a system without interests.
            unread: places of items that are too old to be read.
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
        """Show what may be meant, and last that it is something new, where that can be."""
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
        # Another height lays the whole screen out again: only where it has changed.
        if completions.styles.height != Scalar.from_number(count + 2):
            completions.styles.height = count + 2
        completions.display = True

    def hide_completions(self) -> None:
        """Nothing is being typed."""
        self._found = []
        self.completions.display = False

    def forget_completions(self) -> None:
        """What was found is no longer meant; it is looked for again."""
        self.hide_completions()
        self._waiting = True

    def clear_box(self) -> None:
        """Make room for the next title."""
        with self.prevent(Input.Changed):
            self.box.value = ""
        self.hide_completions()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Every keystroke is told."""
        event.stop()
        # Until the answer is there, Enter must not take a completion of an older text.
        self._waiting = True
        if not event.value.strip():
            self.hide_completions()
        self.post_message(self.Typed(event.value))

    def on_search_box_pick(self, event: SearchBox.Pick) -> None:
        """Up and down move among the completions, or into the list."""
        event.stop()
        if self.completions.display:
            self.completions.cursor += event.by
        elif event.by > 0:
            self.list.focus()

    def on_search_box_take(self, event: SearchBox.Take) -> None:
        """Add the completion chosen."""
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
