"""The Compare screen: one history as two runs, or two epochs of one run, see it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import Static

from miracle_core.runs.summary import RunSummary, find_runs, real_path
from tui.background import as_told, background
from tui.comparison import Pair, pairs, translate
from tui.display import chip, shown
from tui.engine import Engine, Stage, Stopped
from tui.exports import Table
from tui.interest_text import interests_text
from tui.on_disk import Source
from tui.screens.base import ExplorerScreen
from tui.widgets.panel import Panel
from tui.widgets.rows import Cell, Column, Rows

if TYPE_CHECKING:
    from miracle_core.errors import MiracleError
    from miracle_core.recommender.results import Recommendation, Recommended


class RunPanel(Panel):
    """The interests that one run finds, if its system has interests."""

    def __init__(self, name: str, *, id: str) -> None:
        super().__init__(name, "", id=id)
        self._answer: Recommendation | None = None
        self._says = ""

    def compose_body(self) -> ComposeResult:
        """A scrolling text."""
        with VerticalScroll():
            yield Static("", markup=False, classes="run-text")

    def show_answer(self, name: str, answer: Recommendation | None, says: str) -> None:
        """Show a run's interests below a message."""
        self.describe(shown(name, 80))
        self._answer, self._says = answer, says
        self.on_resize()

    def on_resize(self) -> None:
        """Fit the lines to the new width."""
        out = Text(f"{self._says}\n" if self._says else "")
        if self._answer is not None:
            out.append_text(interests_text(self._answer, max(self.size.width - 20, 10)))
        self.query_one(".run-text", Static).update(out)


class ListPanel(Panel):
    """The items of both lists."""

    def __init__(self) -> None:
        super().__init__("Recommendations", "r", id="both")

    def compose_body(self) -> ComposeResult:
        """The list."""
        yield Rows(id="both-list")

    def set_columns(self, *, left: bool, right: bool) -> None:
        """Make room for the winning interest on each side that has interests."""
        won = Column("", 8)
        self.query_one(Rows).columns = (
            Column("left", 7, right=True),
            won if left else Column("", 2),
            Column("title", -1),
            Column("move", 8, right=True),
            Column("right", 7, right=True),
            won if right else Column("", 2),
        )


class CompareScreen(ExplorerScreen):
    """Compare the answers of the open run with another run, or with its own other epoch.

    A run keeps two epochs, the best and the last. Others can't be compared.
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
        self._lost = 0
        self._pairs: list[Pair] = []

    def compose_main(self) -> ComposeResult:
        """Two runs above one list."""
        with Container(id="two-runs"):
            yield RunPanel("Left", id="left-run")
            yield RunPanel("Right", id="right-run")
        yield ListPanel()

    def arrive(self) -> None:
        """Compare the answers to the current history."""
        self._left = self.exploration.answer if self.engine else None
        self.show_both()
        self.compare()

    def show_stage(self) -> None:
        """Show the progress of loading where the results will be."""
        super().show_stage()
        if self.is_mounted and self.engine is None:
            self.show_both()

    def show_both(self) -> None:
        """Show both sides and the list, as far as they are known."""
        engine, other = self.explorer.engine, self.other
        left = "" if self.engine else self.waiting_text()
        if self.engine is not None:
            left = _says(self.engine, self._left)
            if self._left is None:
                left = self._failure or "The history is empty: F1 leads to Explore."
        name = self._identify(engine)
        self.query_one("#left-run", RunPanel).show_answer(name, self._left, left)
        right = "Press o to choose another run, or another epoch of this one."
        if self._error is not None:
            right = f"It can't be opened: {shown(str(self._error))}"
        elif other is not None:
            right = f"Loading: {self._stage or 'starting'}"
            if other.ready:
                right = " ".join(filter(None, (_says(other, self._right), _lost(self._lost))))
        name = self._identify(other)
        self.query_one("#right-run", RunPanel).show_answer(name, self._right, right)
        self._pairs = []
        if self._left is not None and self._right is not None:
            self._pairs = pairs(self._left, self._right, self.exploration.top_k)
        rows = self.query_one("#both-list", Rows)
        self.query_one(ListPanel).set_columns(
            left=bool(self._left and self._left.capsules),
            right=bool(self._right and self._right.capsules),
        )
        rows.say("" if self._pairs else "Both lists come here, with the moves between them.")
        rows.show(len(self._pairs), self._cells)
        shared = sum(self._in_both(pair) for pair in self._pairs)
        detail = f"{shared} of the top {self.exploration.top_k} in both" if self._pairs else ""
        self.query_one(ListPanel).describe(detail)

    def _identify(self, engine: Engine | None) -> str:
        """Name a run; once it is loaded, add its epoch, system and seen rule.

        The epoch comes first: a narrow frame cuts the end, and the two sides may be of one run.
        """
        if engine is None:
            return ""
        if not engine.ready:
            return engine.run.name
        model = engine.model
        rule = self.exploration.seen or model.seen
        return f"{engine.run.name} · {engine.answering} · {model.system.title} · seen: {rule}"

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
            data = self._data_for(choice.run, here=choice.here)
            other = Source(choice.run.path, data, choice.state.weights)
            if open_now is not None:
                same = open_now.source
                other = replace(other, rules=same.rules, options=same.options)
            self.open_other(other)

    def _data_for(self, run: RunSummary, *, here: bool) -> Path | None:
        """The Dataset for another run: a pre-trained run reads the open run's, others their own."""
        open_now = self.explorer.engine
        if here and open_now is not None:
            return open_now.source.data
        if run.pretrained and self.engine is not None:
            return self.engine.model.dataset.folder
        return None

    def open_other(self, source: Source) -> None:
        """Load another run, or another epoch of the open one."""
        self.close_other()
        self._error = self._right = None
        self.other = Engine(source, self._tell, self.explorer.load_run)
        self.show_both()
        self.load_other(self.other)

    def _tell(self, stage: Stage | None) -> None:
        self._stage = stage
        if self.is_current:
            self.show_both()

    @background("load-other")
    async def load_other(self, other: Engine) -> None:
        """Load the other run, then compare."""
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
        top_k, seen = exploration.top_k, exploration.seen
        try:
            given = [entry.given for entry in entries]
            left, right, lost = await engine.recommend(given, top_k, seen, None), None, 0
            if other is not None and other.ready:
                given, lost = await other.ask(translate, entries, engine.model, other.model)
                if given:
                    right = await other.recommend(given, top_k, seen, None)
        except Stopped:
            return
        except Exception as error:
            if engine is not self.engine or other is not self.other:
                return  # of a run that was replaced meanwhile
            # An older answer does not belong to this history.
            self._left = self._right = None
            self.failed(as_told(error))
        else:
            if engine is not self.engine or other is not self.other:
                return
            self._left, self._right, self._failure, self._lost = left, right, "", lost
        self.show_both()

    def failed(self, error: MiracleError) -> None:
        """Show the error where the interests would be, too."""
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
        """Both lists, and the runs that they come from."""
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


def _says(engine: Engine, answer: Recommendation | None) -> str:
    """The message in place of interests if the system has none."""
    if answer is None or answer.capsules:
        return ""
    return f"{engine.model.system.title} sees no interests: it has one list."


def _lost(count: int) -> str:
    """The message about items that a run can't be asked about."""
    if not count:
        return ""
    items = "1 item of the history is" if count == 1 else f"{count} items of the history are"
    return f"{items} new to it and left out."


def _identity(engine: Engine | None) -> dict[str, Any]:
    assert engine is not None
    model = engine.model
    return {
        "run": str(engine.run),
        "model": model.system.name,
        "weights": model.weights,
        "epoch": model.epoch,
    }


def _rank(item: Recommended | None, top_k: int) -> tuple[Text, Cell]:
    if item is None:
        return Text("-", "dim"), ""
    return Text(f"{item.rank:,}", "" if item.rank <= top_k else "dim"), chip(item.capsule)
