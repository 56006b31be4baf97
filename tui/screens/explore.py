"""Explore: history, interests, recommendations, why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from miracle_core.errors import MiracleError
from tui.display import shown
from tui.engine import Stopped
from tui.exploration import TOP_K, OpenUser, entries_of, entry_of
from tui.exports import Table, exploration_json, exploration_table
from tui.history import Entry
from tui.screens.base import ExplorerScreen
from tui.why import NEAR
from tui.widgets.heatmap import VIEWS, Heatmap
from tui.widgets.history_panel import COMPLETIONS, HistoryPanel
from tui.widgets.interests_panel import InterestsPanel
from tui.widgets.panel import Panel
from tui.widgets.recommendations_panel import RecommendationsPanel
from tui.widgets.rows import Rows
from tui.widgets.search_box import SearchBox
from tui.widgets.why_panel import WhyPanel

EMPTY = (
    "Nothing yet. Type the title of an item, pick one with ↑ ↓ and Enter; "
    "its interests show at once."
)


class ExploreScreen(ExplorerScreen):
    """The chain from a history to the reasons, edited at its start."""

    mode = "explore"
    AUTO_FOCUS = "#search"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash,a", "search", "Search", key_display="/"),
        Binding("l", "open_panel('history')", "History", show=False),
        Binding("i", "open_panel('interests')", "Interests", show=False),
        Binding("r", "open_panel('recommendations')", "Recommendations", show=False),
        Binding("w", "open_panel('why')", "Why", show=False),
        Binding("v", "next_view", "View"),
        Binding("f", "next_filter", "Filter"),
        Binding("h", "hide_seen", "Hide seen", show=False),
        Binding("plus,equals_sign", "more(1)", "More recommendations", show=False, key_display="+"),
        Binding("minus", "more(-1)", "Fewer recommendations", show=False, key_display="-"),
        Binding("ctrl+z,u", "undo", "Undo", key_display="u"),
        Binding("ctrl+y,U", "redo", "Redo", show=False, key_display="U"),
        Binding("x", "clear", "Clear the history", show=False),
        Binding("n", "step_user(1)", "Next user", show=False),
        Binding("p", "step_user(-1)", "Previous user", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._open = "recommendations"
        self._asked: object = None

    def compose_main(self) -> ComposeResult:
        """The four panels, in the order of the chain."""
        with Container(id="panels"):
            yield HistoryPanel()
            yield InterestsPanel()
            yield RecommendationsPanel()
            yield WhyPanel()

    @property
    def history_panel(self) -> HistoryPanel:
        """Where the history is edited."""
        return self.query_one(HistoryPanel)

    @property
    def interests_panel(self) -> InterestsPanel:
        """The heatmap's."""
        return self.query_one(InterestsPanel)

    @property
    def recommendations_panel(self) -> RecommendationsPanel:
        """The list's."""
        return self.query_one(RecommendationsPanel)

    @property
    def why_panel(self) -> WhyPanel:
        """The reasons'."""
        return self.query_one(WhyPanel)

    # Showing.

    def arrive(self) -> None:
        """Show the exploration; ask again if it was changed elsewhere."""
        self._show_history()
        if self.engine is None:
            self._show_answer()
        elif self._asked != self._question():
            self.recompute()
            typed = self.history_panel.box.value
            if typed:
                self.complete(typed)

    def show_stage(self) -> None:
        """Loading is told where its results will be."""
        super().show_stage()
        if self.is_mounted and self.engine is None:
            self._show_answer()

    def _question(self) -> object:
        exploration = self.exploration
        history = tuple(exploration.history.entries[place] for place in exploration.countable)
        target, seen = exploration.target, exploration.hide_seen
        return id(exploration), history, exploration.depth, seen, target

    def _show_history(self) -> None:
        exploration = self.exploration
        entries = exploration.history.entries
        self.history_panel.show_history(
            entries, exploration.capsules_of_history(), bool(exploration.new_titles_fail)
        )
        detail = f"{len(entries)} item{'' if len(entries) == 1 else 's'}" if entries else ""
        if exploration.user:
            detail = f"user {shown(exploration.user.user_id, 40)} · {detail}"
        if self.engine is not None and len(exploration.history.on) > self.engine.model.max_length:
            detail += f" · the newest {self.engine.model.max_length} count"
        self.history_panel.describe(detail)
        self.history_panel.list.say(EMPTY if self.engine else "")

    def _show_answer(self) -> None:
        exploration = self.exploration
        empty = ""
        if self.engine is None:
            empty = self.waiting_text()
        elif exploration.answer is None:
            off = bool(exploration.history.entries)
            empty = "Every item is switched off." if off else "Recommendations come here."
        self.recommendations_panel.list.say(empty)
        self.interests_panel.heatmap.say("" if self.engine is None else "Interests come here.")
        self.interests_panel.show_answer(exploration.answer, exploration.view)
        self.recommendations_panel.show_exploration(exploration)
        self._explain()

    def _explain(self) -> None:
        item = self.recommendations_panel.chosen
        answer = self.exploration.answer
        if item is None or answer is None or self.engine is None:
            self.why_panel.clear()
            return
        self.why_panel.explain(answer, item, self.engine.model.text(item.item))
        self.look_near(item.item)

    # Asking. Each worker replaces the one before it: the last edit wins.

    @work(exclusive=True, group="recommend")
    async def recompute(self, edit: bool = False) -> None:
        """Ask for the answer to the history as it is now."""
        engine, exploration = self.engine, self.exploration
        if engine is None:
            return
        self._asked = self._question()
        places = exploration.countable
        given = [exploration.history.entries[place].given for place in places]
        answer = None
        try:
            if given:
                answer = await engine.recommend(
                    given, exploration.depth, exploration.hide_seen, exploration.target
                )
        except Stopped:
            return
        except (MiracleError, OSError) as error:
            self._not_answered(error, given)
            return
        if exploration is not self.exploration:
            return
        exploration.accept(answer, places, edit=edit)
        with self.app.batch_update():
            self._show_history()
            self._show_answer()

    def _not_answered(self, error: MiracleError | OSError, given: Sequence[int | str]) -> None:
        if any(isinstance(item, str) for item in given) and not self.exploration.new_titles_fail:
            self.exploration.new_titles_fail = str(error)
            self.notify(
                f"{error}",
                title="New items don't count",
                severity="warning",
                timeout=12,
                markup=False,
            )
            self.recompute()
            return
        self.notify(f"{error}", title="No answer", severity="error", markup=False)

    @work(exclusive=True, group="complete")
    async def complete(self, typed: str) -> None:
        """Find what is being typed."""
        if self.engine is None:
            return
        found = await self.engine.complete(typed, COMPLETIONS)
        if self.history_panel.box.value == typed:
            self.history_panel.show_completions(typed, found, self.engine.model.title)

    @work(exclusive=True, group="near")
    async def look_near(self, item: int) -> None:
        """Find what is near a recommended item."""
        if self.engine is None:
            return
        near = await self.engine.nearest(item, NEAR)
        titles = [(self.engine.model.title(n.item), n.similarity) for n in near]
        self.why_panel.show_near(item, titles)

    @work(group="match")
    async def add_lines(self, lines: list[str]) -> None:
        """Add what some typed lines mean, in one step."""
        if self.engine is None:
            self.notify("The run is still loading.")
            return
        try:
            matches = await self.engine.match(lines)
        except MiracleError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self._edit(*[entry_of(match) for match in matches])
        new = sum(match.item is None for match in matches)
        if len(lines) > 1:
            self.notify(f"{len(lines)} lines: {len(lines) - new} known items, {new} new ones")

    @work(exclusive=True, group="user")
    async def step_user_to(self, place: int, order: Sequence[int]) -> None:
        """Open a user of the data set."""
        if self.engine is None:
            return
        user = await self.engine.user_history(int(order[place]))
        titles = [self.engine.model.title(item) for item in user.items]
        exploration = self.exploration
        exploration.user = OpenUser(user.user_id, user.held_out, place, order)
        exploration.history.replace(entries_of(user, titles))
        exploration.moves, exploration.capsule = {}, None
        self._show_history()
        self.recompute()

    # What the panels ask for.

    def _edit(self, *added: Entry) -> None:
        """After an edit: show it at once, and ask for its answer."""
        history = self.exploration.history
        history.add(*added)
        self._show_history()
        if added:
            self.history_panel.list.cursor = len(history) - 1
        self.recompute(edit=True)

    def on_history_panel_typed(self, event: HistoryPanel.Typed) -> None:
        """A keystroke."""
        if event.text.strip():
            self.complete(event.text)

    def on_history_panel_add(self, event: HistoryPanel.Add) -> None:
        """A title is to be added."""
        if self.engine is None:
            self.notify("The run is still loading; what you typed stays.")
            return
        self.history_panel.clear_box()
        if event.item is not None:
            self._edit(Entry(event.item, self.engine.model.title(event.item)))
        elif event.new:
            self._edit(Entry(None, " ".join(event.text.split())))
        else:
            self.add_lines([event.text])

    def on_search_box_lines(self, event: SearchBox.Lines) -> None:
        """Several titles were pasted."""
        self.add_lines(event.lines)

    def on_search_box_help(self, event: SearchBox.Help) -> None:
        """A question mark in the empty box."""
        self.explorer.action_help()

    def on_search_box_leave(self, event: SearchBox.Leave) -> None:
        """Esc: the completions first, then the box."""
        if self.history_panel.box.value:
            self.history_panel.clear_box()
        else:
            self.history_panel.list.focus()

    def on_history_panel_edit(self, event: HistoryPanel.Edit) -> None:
        """An item is to be changed."""
        history = self.exploration.history
        if event.what == "toggle":
            history.toggle(event.place)
        elif event.what == "remove":
            history.remove(event.place)
        else:
            target = history.move(event.place, -1 if event.what == "up" else 1)
            self.history_panel.list.cursor = target
        self._edit()

    def on_rows_highlighted(self, event: Rows.Highlighted) -> None:
        """Another recommendation is to be explained."""
        if event.rows is self.recommendations_panel.list:
            self._explain()

    def on_rows_selected(self, event: Rows.Selected) -> None:
        """Enter on a recommendation adds it; on an item of the history switches it."""
        if event.rows is self.recommendations_panel.list:
            item = self.recommendations_panel.at(event.place)
            self._edit(Entry(item.item, item.title))
        elif event.rows is self.history_panel.list:
            self.history_panel.list.action_edit("toggle")

    def on_heatmap_capsule_chosen(self, event: Heatmap.CapsuleChosen) -> None:
        """One interest's items, or all again."""
        same = self.exploration.capsule == event.capsule
        self._filter(None if same else event.capsule)

    def on_panel_unfold(self, event: Panel.Unfold) -> None:
        """A folded line was reached."""
        self.action_open_panel(event.panel.id or "")

    # Keys.

    def action_search(self) -> None:
        """Into the box."""
        self.history_panel.box.focus()

    def action_open_panel(self, panel: str) -> None:
        """Go to a panel, unfolding it if need be."""
        if panel != "history":
            self._open = panel
            self.fold()
        inside: dict[str, Any] = {
            "history": self.history_panel.list,
            "interests": self.interests_panel.heatmap,
            "recommendations": self.recommendations_panel.list,
            "why": self.why_panel.query_one("#why-scroll"),
        }
        self.call_after_refresh(inside[panel].focus)

    def fold(self) -> None:
        """Where there is little room, one panel besides the history stays open."""
        little = self.has_class("-accordion")
        for panel in (self.interests_panel, self.recommendations_panel, self.why_panel):
            panel.folded = little and panel.id != self._open
            panel.set_class(little and panel.id == self._open, "-open")

    def action_next_view(self) -> None:
        """What the heatmap shows."""
        views = list(VIEWS)
        exploration = self.exploration
        exploration.view = views[(views.index(exploration.view) + 1) % len(views)]
        self.interests_panel.show_answer(exploration.answer, exploration.view)

    def action_next_filter(self) -> None:
        """One interest after the other, then all."""
        answer = self.exploration.answer
        if answer is not None:
            choices = [None, *(c.capsule for c in answer.capsules)]
            place = choices.index(self.exploration.capsule)
            self._filter(choices[(place + 1) % len(choices)])

    def _filter(self, capsule: int | None) -> None:
        self.exploration.capsule = capsule
        self._show_answer()
        if self._asked != self._question():
            self.recompute()

    def action_hide_seen(self) -> None:
        """Leave the history's own items out, or not."""
        self.exploration.hide_seen = not self.exploration.hide_seen
        self.recompute()

    def action_more(self, by: int) -> None:
        """More or fewer recommendations."""
        place = min(max(TOP_K.index(self.exploration.top_k) + by, 0), len(TOP_K) - 1)
        self.exploration.top_k = TOP_K[place]
        self._show_answer()

    def action_undo(self) -> None:
        """Take the last edit back."""
        if self.exploration.history.undo():
            self._edit()
        else:
            self.notify("Nothing to undo.")

    def action_redo(self) -> None:
        """Do it again."""
        if self.exploration.history.redo():
            self._edit()
        else:
            self.notify("Nothing to redo.")

    def action_clear(self) -> None:
        """An empty history; undo brings it back."""
        self.exploration.user = None
        self.exploration.history.replace([])
        self._edit()

    def action_step_user(self, by: int) -> None:
        """The next or previous user of the table."""
        user = self.exploration.user
        if user is None:
            self.notify("No user is open; 2 leads to the users.")
            return
        place = user.place + by
        if 0 <= place < len(user.order):
            self.step_user_to(place, user.order)

    # Exports.

    def export_json(self) -> Any:
        """The answer, whole."""
        return exploration_json(self.exploration) if self.exploration.answer else None

    def export_table(self) -> Table | None:
        """The recommendations."""
        return exploration_table(self.exploration) if self.exploration.answer else None
