"""The paper's figure 6: the capsules that the items of some users activate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from tui.display import chip, heat_style, shown
from tui.widgets.rows import Cell, Column, Rows

if TYPE_CHECKING:
    from miracle_core.recommender.results import Activations

_USER, _ITEMS, _CELL = 16, 6, 3


class Figure6(Rows):
    """One row per user, one column per capsule: how many of the user's items activate it.

    If not all columns fit, the capsules that these users' items activate least are left out.
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, empty="…")
        self._figure: Activations | None = None
        self._capsules: list[int] = []

    def show_figure(self, figure: Activations) -> None:
        """Show the users."""
        self._figure = figure
        self._arrange()
        self.show(len(figure.users), self._row)

    @property
    def left_out(self) -> int:
        """The number of capsules that do not fit."""
        return self._figure.counts.shape[1] - len(self._capsules) if self._figure else 0

    def on_resize(self) -> None:
        """Show as many capsules as fit."""
        self._arrange()

    def _arrange(self) -> None:
        if self._figure is None:
            return
        room = max((self.size.width - _USER - _ITEMS - 2) // _CELL, 1)
        used = self._figure.counts.sum(0)
        by_use = sorted(range(len(used)), key=lambda capsule: -int(used[capsule]))
        self._capsules = sorted(by_use[:room])
        self.columns = (
            Column("", _USER),
            Column("", _ITEMS, right=True),
            *(Column("", _CELL, right=True) for _ in self._capsules),
        )

    @property
    def n_heads(self) -> int:
        """Two header lines: shapes and numbers."""
        return 2 if self._figure else 0

    def head_cells(self, line: int) -> Sequence[Cell]:
        """The capsule of each column."""
        marks = [chip(capsule) for capsule in self._capsules]
        if line == 0:
            return ["", "", *(Text.assemble(" ", mark[1:2]) for mark in marks)]
        return ["user", "items", *(f"{capsule}" for capsule in self._capsules)]

    def _row(self, place: int) -> list[Cell]:
        figure = self._figure
        assert figure is not None
        most = int(figure.counts.max())
        cells: list[Cell] = [shown(figure.user_ids[place], 40), f"{int(figure.lengths[place])}"]
        for capsule in self._capsules:
            count = int(figure.counts[place, capsule])
            cells.append(self._cell(count, most) if count else Text("·", "dim"))
        return cells

    def _cell(self, count: int, most: int) -> Text:
        if self.app.no_color:
            return Text(f"{count}", "bold")
        return Text(f"{count:>2}", heat_style(count / max(most, 1)))
