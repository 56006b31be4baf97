"""Compare: one history, two runs, or two epochs of one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import Static

from tui.background import as_told, background
from tui.comparison import Pair, pairs, translate
from tui.display import bar, chip, colour, fitted, shown
from tui.engine import Engine, Stage, Stopped
from tui.exports import Table
from tui.runs import Weights, find_runs, real_path
from tui.screens.base import ExplorerScreen
from tui.widgets.panel import Panel
from tui.widgets.rows import Cell, Column, Rows

if TYPE_CHECKING:
    from miracle_core.errors import MiracleError
    from miracle_core.recommender.results import Recommendation, Recommended


class RunPanel(Panel):
    """The interests that one run sees."""

    def __init__(self, name: str, *, id: str) -> None:
        super().__init__(name, "", id=id)
        self._answer: Recommendation | None = None
        self._empty = ""

    def compose_body(self) -> ComposeResult:
        """A text that scrolls."""
        with VerticalScroll():
            yield Static("", markup=False, classes="run-text")

    def show_answer(self, name: str, answer: Recommendation | None, empty: str) -> None:
        """Show a run's interests."""
        self.describe(shown(name, 40))
        self._answer, self._empty = answer, empty
        self.on_resize()

    def on_resize(self) -> None:
        """Lines follow the width."""
        answer = self._answer
        out = Text(self._empty)
        width = max(self.size.width - 20, 10)
        for capsule in answer.capsules if answer is not None else ():
            out.append_text(chip(capsule.capsule))
            items = len(capsule.items)
            told = f"{items:>3} item{' ' if items == 1 else 's'}" if width >= 40 else ""
            out.append_text(fitted(f" {shown(capsule.label)}", max(width - len(told) - 2, 8)))
            out.append(f"{told} {capsule.strength:.2f} ")
            out.append(bar(capsule.strength, 5), colour(capsule.capsule))
            out.append("\n")
        self.query_one(".run-text", Static).update(out)


class ListPanel(Panel):
    """The items of both lists."""

    def __init__(self) -> None:
        super().__init__("Recommendations", "r", id="both")

    def compose_body(self) -> ComposeResult:
        """The list."""
        yield Rows(
            Column("left", 7, right=True),
            Column("", 8),
            Column("title", -1),
            Column("move", 8, right=True),
            Column("right", 7, right=True),
            Column("", 8),
            id="both-list",
        )


class CompareScreen(ExplorerScreen):
    """The history of Explore, as the open run and another one see it, or another epoch of it.

    A run keeps two epochs, the best and the last; others can't be compared.
    """

    mode = "compare"
    about = (
        "The history of Explore as two runs see it, or two epochs of one run. A run keeps two "
        "epochs, the best on validation and the last; others can't be compared."
    )
    AUTO_FOCUS = "#both-list"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("o", "choose", "Other run or epoch")]

    def __init__(self) -> None:
        super().__init__()
        self.other: Engine | None = None
        self._error: MiracleError | None = None
        self._failure = ""
        self._stage: Stage | None = None
        self._left: Recommendation | None = None
        self._right: Recommendation | None = None
        self._pairs: list[Pair] = []

    def compose_main(self) -> ComposeResult:
        """Two runs above one list."""
        with Container(id="two-runs"):
            yield RunPanel("Left", id="left-run")
            yield RunPanel("Right", id="right-run")
        yield ListPanel()

    def arrive(self) -> None:
        """Compare the history as it is now."""
        self._left = self.exploration.answer if self.engine else None
        self.show_both()
        self.compare()

    def show_stage(self) -> None:
        """Loading is told where the results will be."""
        super().show_stage()
        if self.is_mounted and self.engine is None:
            self.show_both()

    def show_both(self) -> None:
        """Show what there is."""
        engine, other = self.explorer.engine, self.other
        left = "" if self.engine else self.waiting_text()
        if self.engine is not None and self._left is None:
            left = self._failure or "The history is empty: F1 leads to Explore."
        self.query_one("#left-run", RunPanel).show_answer(_name(engine), self._left, left)
        right = "Press o to choose another run, or another epoch of this one."
        if self._error is not None:
            right = f"It can't be opened: {shown(str(self._error))}"
        elif other is not None:
            right = "" if other.ready else f"Loading: {self._stage or 'starting'}"
        self.query_one("#right-run", RunPanel).show_answer(
            _name(other), self._right, "" if self._right else right
        )
        self._pairs = []
        if self._left is not None and self._right is not None:
            self._pairs = pairs(self._left, self._right, self.exploration.top_k)
        rows = self.query_one("#both-list", Rows)
        rows.say("" if self._pairs else "Both lists come here, with the moves between them.")
        rows.show(len(self._pairs), self._cells)
        shared = sum(self._in_both(pair) for pair in self._pairs)
        detail = f"{shared} of the top {self.exploration.top_k} in both" if self._pairs else ""
        self.query_one(ListPanel).describe(detail)

    def _in_both(self, pair: Pair) -> bool:
        k = self.exploration.top_k
        return all(item is not None and item.rank <= k for item in (pair.left, pair.right))

    def _cells(self, place: int) -> Sequence[Cell]:
        pair = self._pairs[place]
        move = pair.move
        text = Text("-", "dim") if move is None else Text("=", "dim")
        if move:
            text = Text(f"▲{move}" if move > 0 else f"▼{-move}")
        return (
            *_rank(pair.left, self.exploration.top_k),
            shown(pair.title),
            text,
            *_rank(pair.right, self.exploration.top_k),
        )

    # Asking.

    @background("choose")
    async def action_choose(self) -> None:
        """Choose another run, or another epoch of this one."""
        from tui.screens.choose_run import ChooseRunScreen, choices_of

        recent = [Path(name) for name in self.explorer.session.recent]
        open_now = self.explorer.engine
        here = [real_path(open_now.run)] if open_now else []
        found = await asyncio.to_thread(find_runs, [*here, self.explorer.here, *recent])
        shown_now = self.engine.model.weights if self.engine else "best"
        choices = choices_of(found, here[0] if here else None, shown_now)
        choice = await self.app.push_screen_wait(ChooseRunScreen(choices))
        if choice is not None:
            self.open_other(choice.run.path, choice.state.weights)

    def open_other(self, folder: Path, weights: Weights | None = None) -> None:
        """Load another run, or another epoch of the one that is open."""
        self.close_other()
        self._error = self._right = None
        self.other = Engine(folder, self._tell, self.explorer.load_run, weights)
        self.show_both()
        self.load_other(self.other)

    def _tell(self, stage: Stage | None) -> None:
        self._stage = stage
        if self.is_current:
            self.show_both()

    @background("load-other")
    async def load_other(self, other: Engine) -> None:
        """Load, then compare."""
        try:
            await other.load()
        except Stopped:
            return
        except Exception as error:  # a damaged run may fail anywhere
            if other is self.other:
                self._error = as_told(error)
        if other is self.other:
            self.show_both()
            self.compare()

    @background("compare")
    async def compare(self) -> None:
        """Ask both runs."""
        engine, other, exploration = self.engine, self.other, self.exploration
        entries = [exploration.history.entries[place] for place in exploration.countable]
        if engine is None or not entries:
            self._right = None
            self.show_both()
            return
        top_k, seen = exploration.top_k, exploration.hide_seen
        try:
            given = [entry.given for entry in entries]
            left, right = await engine.recommend(given, top_k, seen, None), None
            if other is not None and other.ready:
                given = await other.ask(translate, entries, engine.model, other.model)
                right = await other.recommend(given, top_k, seen, None)
        except Stopped:
            return
        except Exception as error:
            # An older answer is not of this history.
            self._left = self._right = None
            self.failed(as_told(error))
        else:
            if engine is not self.engine or other is not self.other:
                return
            self._left, self._right, self._failure = left, right, ""
        self.show_both()

    def failed(self, error: MiracleError) -> None:
        """Say it where the interests would be, too."""
        self._failure = shown(str(error))
        super().failed(error)

    def close_other(self) -> None:
        """Let the other run's threads end."""
        if self.other is not None:
            self.other.close()

    def on_unmount(self) -> None:
        """The explorer is closed."""
        self.close_other()

    # Exports.

    def export_json(self) -> Any:
        """Both lists, and what they are of."""
        table = self.export_table()
        return table and {
            "left": _identity(self.engine),
            "right": _identity(self.other),
            "items": [dict(zip(table[0], row, strict=True)) for row in table[1]],
        }

    def export_table(self) -> Table | None:
        """Both lists."""
        if not self._pairs:
            return None
        return ("item_id", "title", "rank_left", "rank_right", "move"), [
            (p.item_id, p.title, p.left and p.left.rank, p.right and p.right.rank, p.move)
            for p in self._pairs
        ]


def _name(engine: Engine | None) -> str:
    """Which run, and which epoch of it once that is known."""
    if engine is None:
        return ""
    if not engine.ready:
        return engine.run.name
    return f"{engine.run.name} · {engine.answering}"


def _identity(engine: Engine | None) -> dict[str, Any]:
    assert engine is not None
    model = engine.model
    return {"run": str(engine.run), "weights": model.weights, "epoch": model.epoch}


def _rank(item: Recommended | None, top_k: int) -> tuple[Text, Cell]:
    if item is None:
        return Text("-", "dim"), ""
    return Text(f"{item.rank:,}", "" if item.rank <= top_k else "dim"), chip(item.capsule)
