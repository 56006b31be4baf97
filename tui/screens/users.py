"""The Users screen: a table of the data set's users, whose histories can be opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from tui.background import background
from tui.display import held_out_rank, shown
from tui.exports import Table
from tui.screens.base import ExplorerScreen
from tui.user_filter import PLAIN_SORTS, SORTS, chosen_users
from tui.widgets.panel import Panel
from tui.widgets.rows import Cell, Column, Rows

if TYPE_CHECKING:
    from miracle_core.errors import MiracleError
    from miracle_core.recommender.results import UserTable
    from tui.engine import Engine


class UsersPanel(Panel):
    """A filter and the table."""

    def __init__(self) -> None:
        super().__init__("Users", "", id="users")

    def compose_body(self) -> ComposeResult:
        """The filter above the table."""
        yield Input(id="user-filter", compact=True)
        yield Rows(id="user-list")

    def set_columns(self, *, interests: bool) -> None:
        """Set the columns; there is one for interests only if the system has interests."""
        also = "interests>=3, " if interests else ""
        self.query_one(Input).placeholder = f"filter: part of an id, items>5, {also}rank<=10"
        self.query_one(Rows).columns = (
            Column("user", 24),
            Column("items", 8, right=True),
            *((Column("interests", 11, right=True),) if interests else ()),
            Column("rank", 8, right=True),
            Column("held-out item", -1),
        )


class UsersScreen(ExplorerScreen):
    """All users with their items, interests and the rank of the held-out item."""

    mode = "users"
    about = "The data set's users. Enter opens one in Explore, where n and p step to the next."
    AUTO_FOCUS = "#user-list"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort", "Sort by next"),
        Binding("S", "reverse", "Reverse"),
        Binding("escape", "leave", "Back to the list", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._table: UserTable | None = None
        self._of: Engine | None = None
        self._failure = ""
        self._order: list[int] = []
        self._sort, self._down = "user", False

    def compose_main(self) -> ComposeResult:
        """One panel."""
        yield UsersPanel()

    def on_mount(self) -> None:
        """Start with the columns for any system, until a run is loaded."""
        self.query_one(UsersPanel).set_columns(interests=True)

    @property
    def _sorts(self) -> tuple[str, ...]:
        return SORTS if self.has_interests else PLAIN_SORTS

    @property
    def list(self) -> Rows:
        """The table."""
        return self.query_one("#user-list", Rows)

    @property
    def filter(self) -> Input:
        """The filter."""
        return self.query_one("#user-filter", Input)

    def arrive(self) -> None:
        """Show the users of the open run."""
        if self._of is not self.engine:
            # Another run was opened: drop what belongs to the previous one.
            self._of, self._table, self._order, self._failure = self.engine, None, [], ""
            self.query_one(UsersPanel).set_columns(interests=self.has_interests)
            if self._sort not in self._sorts:
                self._sort = "user"
            self.list.show(0, self._cells, cursor=0)
            if self.engine is not None:
                self.ask()
        self.show_waiting()

    def show_stage(self) -> None:
        """Show progress where the table will be."""
        super().show_stage()
        self.show_waiting()

    def show_waiting(self) -> None:
        """Set the message that is shown while the table is empty."""
        if not self.is_mounted:
            return
        if self._table is not None:
            self.list.say("No user fits the filter.")
        elif self.engine is None:
            self.list.say(self.waiting_text())
        elif self._failure:
            self.list.say(self._failure)
        else:
            self.list.say(f"Ranking every user's held-out item, once: {self.explorer.stage or '…'}")

    @background("users")
    async def ask(self) -> None:
        """Request the table."""
        engine = self.engine
        if engine is None:
            return
        table = await engine.users()
        if engine is self.engine:
            self._table = table
            self.put_in_order()

    def failed(self, error: MiracleError) -> None:
        """Show the error where the table would be, too."""
        self._failure = shown(str(error))
        self.show_waiting()
        super().failed(error)

    def put_in_order(self) -> None:
        """Filter and sort the users."""
        if self._table is None or self._of is None:
            return
        self._order = chosen_users(
            self._table, self._ids, self.filter.value, self._sort, down=self._down
        )
        self.list.show(len(self._order), self._cells, cursor=0)
        self.show_waiting()
        arrow = "↓" if self._down else "↑"
        self.query_one(UsersPanel).describe(
            f"{len(self._order):,} of {len(self._ids):,} · by {self._sort} {arrow}"
            f" · seen: {self._of.model.seen}"
        )

    @property
    def _ids(self) -> Sequence[str]:
        assert self._of is not None
        return [self._of.model.user_id(user) for user in range(self._of.model.n_users)]

    def _cells(self, place: int) -> Sequence[Cell]:
        assert self._table is not None and self._of is not None
        model, user = self._of.model, self._order[place]
        held_out = int(self._table.held_out[user])
        rank = int(self._table.ranks[user])
        return (
            shown(model.user_id(user), 60),
            f"{int(self._table.lengths[user])}",
            *([f"{int(self._table.active[user])}"] if self.has_interests else []),
            _rank(rank, held_out),
            shown(model.title(held_out)) if held_out >= 0 else Text("nothing held out", "dim"),
        )

    def action_filter(self) -> None:
        """Move the focus to the filter."""
        self.filter.focus()

    def action_leave(self) -> None:
        """Move the focus back to the table."""
        self.list.focus()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._sort_by(self._sorts[(self._sorts.index(self._sort) + 1) % len(self._sorts)])

    def action_reverse(self) -> None:
        """Reverse the order."""
        self._down = not self._down
        self.put_in_order()

    def _sort_by(self, name: str) -> None:
        self._down = not self._down if name == self._sort else name in ("items", "interests")
        self._sort = name
        self.put_in_order()

    def on_rows_head_pressed(self, event: Rows.HeadPressed) -> None:
        """Sort by the clicked column."""
        if event.column < len(self._sorts):
            self._sort_by(self._sorts[event.column])

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        self.put_in_order()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the filter moves the focus to the table."""
        self.list.focus()

    def on_rows_selected(self, event: Rows.Selected) -> None:
        """Open a user in Explore."""
        self.explorer.open_user(event.place, tuple(self._order))

    def export_json(self) -> Any:
        """The listed users."""
        table = self.export_table()
        return table and [dict(zip(table[0], row, strict=True)) for row in table[1]]

    def export_table(self) -> Table | None:
        """The listed users."""
        if self._table is None or self._of is None:
            return None
        model, table = self._of.model, self._table
        rows = []
        for user in self._order:
            held_out = int(table.held_out[user])
            rows.append(
                (
                    model.user_id(user),
                    int(table.lengths[user]),
                    *([int(table.active[user])] if self.has_interests else []),
                    int(table.ranks[user]) or None,
                    model.item_id(held_out) if held_out >= 0 else None,
                )
            )
        interests = ["interests"] if self.has_interests else []
        return ("user_id", "items", *interests, "rank", "held_out"), rows


def _rank(rank: int, held_out: int) -> Text:
    """The rank as text; 0 means no held-out item, or one that the seen rule leaves out."""
    if held_out < 0:
        return Text("-", "dim")
    return Text(held_out_rank(rank), "bold" if 0 < rank <= 10 else "" if rank else "dim")
