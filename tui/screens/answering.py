"""The part of Explore that queries the run and shows its answers."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container

from miracle_core.errors import MiracleError
from miracle_core.recommender.given import Known, NewTitle
from tui.background import as_told, background
from tui.display import shown
from tui.engine import Engine, Stopped
from tui.exploration import Exploration, entries_of, entry_of
from tui.history import Entry, OpenUser
from tui.screens.base import ExplorerScreen
from tui.why import NEAR, Explained
from tui.widgets.history_panel import COMPLETIONS, HistoryPanel
from tui.widgets.interests_panel import InterestsPanel
from tui.widgets.recommendations_panel import RecommendationsPanel
from tui.widgets.why_panel import WhyPanel

EMPTY = "Nothing yet. Type the title of an item, pick one with ↑ ↓ and Enter; its {} show at once."
NOTHING_BEFORE = "This user has no item before the test part of the data."


class AnsweringScreen(ExplorerScreen):
    """The four panels, and the workers that fill them.

    A new worker cancels the previous one of its kind: the last edit wins, and typing never waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked: object = None
        self._of: Engine | None = None

    def compose_main(self) -> ComposeResult:
        """The four panels, from history to reasons."""
        with Container(id="panels"):
            yield HistoryPanel()
            yield InterestsPanel()
            yield RecommendationsPanel()
            yield WhyPanel()

    @property
    def history_panel(self) -> HistoryPanel:
        """The history panel."""
        return self.query_one(HistoryPanel)

    @property
    def interests_panel(self) -> InterestsPanel:
        """The interests panel."""
        return self.query_one(InterestsPanel)

    @property
    def recommendations_panel(self) -> RecommendationsPanel:
        """The recommendations panel."""
        return self.query_one(RecommendationsPanel)

    @property
    def why_panel(self) -> WhyPanel:
        """The panel with the reasons."""
        return self.query_one(WhyPanel)

    # Showing.

    def arrive(self) -> None:
        """Show the exploration, and ask again if another screen changed it."""
        if self._of is not self.engine:
            # The completions are items of the previous run.
            self._of = self.engine
            self.history_panel.forget_completions()
            self._arrange()
        self._show_history()
        if self.engine is None:
            self._show_answer()
        elif self._asked != self._question():
            self.recompute()
            typed = self.history_panel.box.value
            if typed:
                self.complete(typed)

    def _arrange(self) -> None:
        """Hide the interests panel if the system has no interests."""
        self.set_class(not self.has_interests, "-plain")
        self.interests_panel.display = self.has_interests
        self.fold()
        self.refresh_bindings()

    def show_stage(self) -> None:
        """Show the progress of loading where the results will be."""
        super().show_stage()
        if self.is_mounted and self.engine is None:
            self._show_answer()

    def _question(self) -> object:
        exploration = self.exploration
        history = tuple(exploration.history.entries[place] for place in exploration.countable)
        target, seen = exploration.target, exploration.rule
        return self.engine, id(exploration), history, exploration.top_k, seen, target

    def _show_history(self) -> None:
        exploration = self.exploration
        entries = exploration.history.entries
        self.history_panel.show_history(
            entries,
            exploration.capsules_of_history() if self.has_interests else None,
            exploration.unread(),
            failing=bool(exploration.new_titles_fail) or not exploration.takes_new,
        )
        parts = []
        if exploration.user:
            edited = "" if entries == exploration.user.own else ", edited"
            parts.append(f"user {shown(exploration.user.user_id, 40)}{edited}")
        if entries:
            parts.append(f"{len(entries)} item{'' if len(entries) == 1 else 's'}")
        read = self.engine.model.max_length if self.engine is not None else None
        if read is not None and len(exploration.history.on) > read:
            parts[-1] += f", the newest {'is' if read == 1 else f'{read} are'} read"
        if any(entry.item is None for entry in entries):
            if not exploration.takes_new:
                parts.append("! new titles don't count")
            elif exploration.new_titles_fail:
                parts.append("! not encoded, t tries again")
        self.history_panel.describe(" · ".join(parts))
        shows = "interests" if self.has_interests else "recommendations"
        empty = NOTHING_BEFORE if exploration.user else EMPTY.format(shows)
        self.history_panel.list.say(empty if self.engine else "")

    def _show_answer(self) -> None:
        exploration = self.exploration
        empty = ""
        if self.engine is None:
            empty = self.waiting_text()
        elif exploration.answer is None:
            off = bool(exploration.history.entries)
            empty = "Every item is switched off." if off else "Recommendations come here."
            if exploration.failure:
                empty = f"No answer: {shown(exploration.failure)}"
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
        model = self.engine.model
        by = model.abilities.neighbours
        self.why_panel.explain(Explained(answer, item, model.text(item.item), by))
        if by is not None:
            # Draw the answer before looking up similar items.
            self.call_after_refresh(self.look_near, item.item)

    # Asking. A new worker cancels the previous one of its kind.

    @background("recommend")
    async def recompute(self, edit: bool = False) -> None:
        """Request the answer to the current history."""
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
                    given, exploration.top_k, exploration.seen, exploration.target
                )
        except Stopped:
            return
        except Exception as error:
            if self._current(engine, exploration):
                self._not_answered(as_told(error), given)
            return
        if not self._current(engine, exploration):
            return
        exploration.accept(answer, places, edit=edit)
        with self.app.batch_update():
            self._show_history()
            self._show_answer()

    def _current(self, engine: Engine, exploration: Exploration) -> bool:
        """Whether a request still belongs to the open run."""
        return engine is self.engine and exploration is self.exploration

    def _not_answered(self, error: MiracleError, given: Sequence[Known]) -> None:
        new = any(isinstance(item, NewTitle) for item in given)
        if new and not self.exploration.new_titles_fail:
            self.exploration.new_titles_fail = str(error)
            self.notify(
                f"{error}\nOnce it is fixed: Esc, then t.",
                title="New items don't count",
                severity="warning",
                timeout=12,
                markup=False,
            )
            self.recompute()
            return
        self.exploration.fail(str(error))
        self._show_history()
        self._show_answer()
        self.notify(f"{error}", title="No answer", severity="error", markup=False)

    @background("complete")
    async def complete(self, typed: str) -> None:
        """Look up completions for the typed text."""
        engine = self.engine
        if engine is None:
            return
        found = await engine.complete(typed, COMPLETIONS)
        if engine is self.engine and self.history_panel.box.value == typed:
            self.history_panel.show_completions(
                typed, found, engine.model.title, new_titles=self.exploration.takes_new
            )

    @background("near")
    async def look_near(self, item: int) -> None:
        """Look up the items nearest to a recommended item."""
        engine = self.engine
        if engine is None:
            return
        near = await engine.nearest(item, NEAR)
        if engine is self.engine:
            titles = [(engine.model.title(n.item), n.similarity) for n in near]
            self.why_panel.show_near(item, titles)

    @background("match", exclusive=False)
    async def add_lines(self, lines: list[str]) -> None:
        """Add the items that the pasted lines mean, in one step."""
        engine = self.engine
        if engine is None:
            self.notify("The run is still loading.")
            return
        matches = await engine.match(lines)
        if engine is not self.engine:
            return
        new = sum(match.item is None for match in matches)
        if new and not self.exploration.takes_new:
            self.refuse_new([match.title for match in matches if match.item is None])
            matches = [match for match in matches if match.item is not None]
        if matches:
            self.edit_history(*[entry_of(match) for match in matches])
        if len(lines) > 1 and self.exploration.takes_new:
            self.notify(f"{len(lines)} lines: {len(lines) - new} known items, {new} new ones")

    def refuse_new(self, titles: Sequence[str]) -> None:
        """Say that the system knows only the items of its catalogue."""
        assert self.engine is not None
        system = self.engine.model.system.title
        first = f"“{shown(titles[0], 60)}” is not in the catalogue"
        if len(titles) > 1:
            first = f"{len(titles)} lines are not in the catalogue; {first}"
        self.notify(
            f"{first}. {system} knows the catalogue's items only.",
            title="Not added",
            severity="warning",
            markup=False,
        )

    @background("user")
    async def step_user_to(self, place: int, order: Sequence[int]) -> None:
        """Open a user of the data set."""
        engine, exploration = self.engine, self.exploration
        if engine is None:
            return
        user = await engine.user_history(int(order[place]))
        if not self._current(engine, exploration):
            return
        own = entries_of(user, [engine.model.title(item) for item in user.items])
        exploration.history.open(OpenUser(user.user_id, user.held_out, tuple(own), place, order))
        exploration.moves, exploration.capsule = {}, None
        self._show_history()
        self.history_panel.list.cursor = max(len(exploration.history) - 1, 0)
        self.recompute()

    def edit_history(self, *added: Entry, same_user: bool = True) -> None:
        """Show the edited history at once, and request its answer.

        Args:
            added: entries to append.
            same_user: whether the same user is still open. If not, moves in rank are not shown,
                because they would compare two users.
        """
        history = self.exploration.history
        history.add(*added)
        self._show_history()
        if added:
            self.history_panel.list.cursor = len(history) - 1
        if not same_user:
            self.exploration.moves = {}
        self.recompute(edit=same_user)
