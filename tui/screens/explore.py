"""The Explore screen: history, interests, recommendations and reasons."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from tui.exploration import TOP_K
from tui.exports import Table, exploration_json, exploration_table
from tui.history import Entry
from tui.screens.answering import AnsweringScreen
from tui.widgets.heatmap import VIEWS, Heatmap
from tui.widgets.history_panel import HistoryPanel
from tui.widgets.panel import Panel
from tui.widgets.rows import Rows
from tui.widgets.search_box import SearchBox

_NUMBERS = """\
strength   of an interest: below 1, grows with its items
weight     of an item: how much it counts
agreement  of an item with an interest: how near it is
score      of an item: its highest under any interest"""


class ExploreScreen(AnsweringScreen):
    """A history to edit, and what follows from it: interests, recommendations and reasons."""

    mode = "explore"
    about = "Type titles; see the interests they form, what these recommend, and why."
    AUTO_FOCUS = "#search"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash,a", "search", "Search", key_display="/"),
        Binding("l", "open_panel('history')", "History", show=False),
        Binding("i", "open_panel('interests')", "Interests", show=False),
        Binding("r", "open_panel('recommendations')", "Recommendations", show=False),
        Binding("w", "open_panel('why')", "Why", show=False),
        Binding("v", "next_view", "View", tooltip="Next view of the interests"),
        Binding("f", "next_filter", "Filter", tooltip="Only the next interest's items, or all"),
        Binding(
            "h",
            "next_seen_rule",
            "Seen items",
            show=False,
            tooltip="Next rule for items of the history",
        ),
        Binding("plus,equals_sign", "more(1)", "More recommendations", show=False, key_display="+"),
        Binding("minus", "more(-1)", "Fewer recommendations", show=False, key_display="-"),
        Binding("u,ctrl+z", "undo", "Undo"),
        Binding("ctrl+y,U", "redo", "Redo", show=False, key_display="U"),
        Binding("x", "clear", "Clear the history", show=False),
        Binding("t", "try_new_items", "Try to encode new items again", show=False),
        Binding("n", "step_user(1)", "Next user", show=False),
        Binding("p", "step_user(-1)", "Previous user", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._open = "recommendations"

    def about_it(self) -> str:
        """The introduction to the screen's help."""
        if self.has_interests:
            return f"{self.about}\n\n{_NUMBERS}"
        return "Type titles; see what they recommend, and why."

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable the keys for interests if the system has none."""
        of_interests = action in ("next_view", "next_filter") or parameters == ("interests",)
        return self.has_interests or not of_interests

    # What the panels ask for.

    def on_history_panel_typed(self, event: HistoryPanel.Typed) -> None:
        """The text in the box has changed."""
        if event.text.strip():
            self.complete(event.text)

    def on_history_panel_add(self, event: HistoryPanel.Add) -> None:
        """Add a title."""
        if self.engine is None:
            self.notify("The run is still loading; what you typed stays.")
            return
        if event.new and not self.exploration.takes_new:
            self.refuse_new([event.text])
            return
        self.history_panel.clear_box()
        if event.item is not None:
            self.edit_history(Entry(event.item, self.engine.model.title(event.item)))
        elif event.new:
            self.edit_history(Entry(None, " ".join(event.text.split())))
        else:
            self.add_lines([event.text])

    def on_search_box_lines(self, event: SearchBox.Lines) -> None:
        """Several titles were pasted."""
        self.add_lines(event.lines)

    def on_search_box_help(self, event: SearchBox.Help) -> None:
        """A question mark was typed into the empty box."""
        self.explorer.action_help()

    def on_search_box_leave(self, event: SearchBox.Leave) -> None:
        """Esc was pressed: clear the box, or leave it if it is empty."""
        if self.history_panel.box.value:
            self.history_panel.clear_box()
        else:
            self.history_panel.list.focus()

    def on_history_panel_edit(self, event: HistoryPanel.Edit) -> None:
        """Apply an edit to an item of the history."""
        history = self.exploration.history
        if event.what == "toggle":
            history.toggle(event.place)
        elif event.what == "remove":
            history.remove(event.place)
        else:
            target = history.move(event.place, -1 if event.what == "up" else 1)
            self.history_panel.list.cursor = target
        self.edit_history()

    def on_rows_highlighted(self, event: Rows.Highlighted) -> None:
        """Explain the recommendation under the cursor."""
        if event.rows is self.recommendations_panel.list:
            self._explain()

    def on_rows_selected(self, event: Rows.Selected) -> None:
        """Enter adds a recommendation to the history, or switches a history item on or off."""
        if event.rows is self.recommendations_panel.list:
            item = self.recommendations_panel.at(event.place)
            self.edit_history(Entry(item.item, item.title))
        elif event.rows is self.history_panel.list:
            self.history_panel.list.action_edit("toggle")

    def on_heatmap_capsule_chosen(self, event: Heatmap.CapsuleChosen) -> None:
        """Show only one interest's items, or all items again."""
        same = self.exploration.capsule == event.capsule
        self._filter(None if same else event.capsule)

    def on_panel_unfold(self, event: Panel.Unfold) -> None:
        """Unfold a panel whose folded line got the focus."""
        self.action_open_panel(event.panel.id or "")

    # Keys.

    def action_search(self) -> None:
        """Move the focus to the box."""
        self.history_panel.box.focus()

    def action_open_panel(self, panel: str) -> None:
        """Move the focus to a panel, and unfold it if necessary."""
        if panel == "interests" and not self.has_interests:
            return
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
        """In a small terminal, keep only one panel besides the history open."""
        little = self.has_class("-accordion")
        if self._open == "interests" and not self.has_interests:
            self._open = "recommendations"
        for panel in (self.interests_panel, self.recommendations_panel, self.why_panel):
            panel.folded = little and panel.id != self._open
            panel.set_class(little and panel.id == self._open, "-open")

    def action_next_view(self) -> None:
        """Switch to the next view of the heatmap."""
        views = list(VIEWS)
        exploration = self.exploration
        exploration.view = views[(views.index(exploration.view) + 1) % len(views)]
        self.interests_panel.show_answer(exploration.answer, exploration.view)

    def action_next_filter(self) -> None:
        """Show only the next interest's items; after the last interest, show all items."""
        answer = self.exploration.answer
        if answer is not None:
            choices = [None, *(c.capsule for c in answer.capsules)]
            place = choices.index(self.exploration.capsule)
            self._filter(choices[(place + 1) % len(choices)])

    def _filter(self, capsule: int | None) -> None:
        self.exploration.capsule = capsule
        self._show_answer()

    def action_next_seen_rule(self) -> None:
        """Switch to the next seen rule."""
        self.exploration.next_rule()
        self.recompute()

    def action_more(self, by: int) -> None:
        """Show more or fewer recommendations."""
        place = min(max(TOP_K.index(self.exploration.top_k) + by, 0), len(TOP_K) - 1)
        self.exploration.top_k = TOP_K[place]
        self._show_answer()
        if self._asked != self._question():
            self.recompute()

    def action_undo(self) -> None:
        """Undo the last edit."""
        self._go_back(self.exploration.history.undo, "Nothing to undo.")

    def action_redo(self) -> None:
        """Redo the last undone edit."""
        self._go_back(self.exploration.history.redo, "Nothing to redo.")

    def _go_back(self, step: Callable[[], bool], nothing: str) -> None:
        user = self.exploration.user
        if step():
            self.edit_history(same_user=user == self.exploration.user)
        else:
            self.notify(nothing)

    def action_clear(self) -> None:
        """Clear the history; undo restores it."""
        self.exploration.history.clear()
        self.edit_history()

    def action_try_new_items(self) -> None:
        """Try to encode new items again: the encoder may have been installed since."""
        if not self.exploration.takes_new:
            self.notify("This system takes no new items: it knows only those of the catalogue.")
            return
        if not self.exploration.new_titles_fail:
            self.notify("New items count; there is nothing to try again.")
            return
        importlib.invalidate_caches()
        self.exploration.new_titles_fail = ""
        self.recompute(edit=True)

    def action_step_user(self, by: int) -> None:
        """Open the next or previous user of the table."""
        user = self.exploration.user
        if user is None:
            self.notify("No user is open; F2 leads to the users.")
            return
        place = user.place + by
        if 0 <= place < len(user.order):
            self.step_user_to(place, user.order)

    # Exports.

    def export_json(self) -> Any:
        """The full answer."""
        return exploration_json(self.exploration) if self.exploration.answer else None

    def export_table(self) -> Table | None:
        """The listed recommendations."""
        return exploration_table(self.exploration) if self.exploration.answer else None
