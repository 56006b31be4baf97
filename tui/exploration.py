"""The state of Explore for one run: the history, the view settings and the last answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tui.history import Entry, History, OpenUser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miracle_core.config import SeenRule
    from miracle_core.recommender import Recommender
    from miracle_core.recommender.results import (
        HistoryItem,
        Match,
        Recommendation,
        Recommended,
        UserHistory,
    )
    from tui.widgets.heatmap import View

TOP_K = (5, 10, 20, 50, 100)
# These rules need nothing learned. "gain" is offered only if the run itself ranks by it.
RULES: tuple[SeenRule, ...] = ("leave-out", "as-printed")
# Ask for at least this many ranks, so that moves from below the shown list are known.
DEPTH = 200


@dataclass
class Exploration:
    """One run's exploration.

    Attributes:
        history: the edited history.
        top_k: how many recommendations are shown.
        seen: the rule for items that are in the history, or None for the run's own rule.
        view: what the heatmap shows.
        capsule: show only this interest's items, or None for all.
        answer: the last answer; also None if the last request failed.
        failure: why the last request failed, or "".
        places: for each item of the answer's history, its index in ``history``.
        moves: how many ranks each item rose (above 0) or fell (below 0) with the last edit; None
            if the item was not ranked before.
        new_titles_fail: why new titles can't be encoded, or "".
        own_rule: the run's own seen rule.
        takes_new: whether the run accepts titles that are not in its catalogue.
        shop_rules: the names of the shop rules that shape the lists.
    """

    history: History = field(default_factory=History)
    top_k: int = 10
    seen: SeenRule | None = None
    view: View = "routing"
    capsule: int | None = None
    answer: Recommendation | None = None
    failure: str = ""
    places: tuple[int, ...] = ()
    moves: dict[int, int | None] = field(default_factory=dict)
    new_titles_fail: str = ""
    own_rule: SeenRule = "as-printed"
    takes_new: bool = True
    shop_rules: tuple[str, ...] = ()

    def of_run(self, model: Recommender) -> None:
        """Read from a newly loaded run what it can be asked."""
        self.own_rule, self.takes_new = model.seen, model.abilities.new_titles
        self.shop_rules = tuple(model.rules.summary())
        if self.seen not in self.rules:
            self.seen = None

    @property
    def rules(self) -> list[SeenRule]:
        """The seen rules that the run can rank by, its own first."""
        return [self.own_rule, *(rule for rule in RULES if rule != self.own_rule)]

    @property
    def rule(self) -> SeenRule:
        """The seen rule in use."""
        return self.seen or self.own_rule

    def next_rule(self) -> None:
        """Switch to the next seen rule; after the last comes the run's own."""
        rules = self.rules
        rule = rules[(rules.index(self.rule) + 1) % len(rules)]
        self.seen = None if rule == self.own_rule else rule

    @property
    def user(self) -> OpenUser | None:
        """The user whose history this is, or None."""
        return self.history.user

    @property
    def target(self) -> int | None:
        """The held-out item."""
        return self.user.held_out if self.user else None

    @property
    def countable(self) -> list[int]:
        """Indices of the history items that are passed to the Recommender."""
        entries = self.history.entries
        return [
            place
            for place in self.history.on
            if entries[place].item is not None or (self.takes_new and not self.new_titles_fail)
        ]

    def accept(self, answer: Recommendation | None, places: Sequence[int], *, edit: bool) -> None:
        """Store a new answer.

        Args:
            answer: the answer, or None if there was nothing to ask.
            places: for each item of the answer's history, its index in ``history``.
            edit: whether it follows an edit; if so, its ranks are compared with the previous ones.
        """
        if edit:
            self.moves = {}
            if self.answer is not None and answer is not None:
                before = {item.item: item.rank for item in _ranked(self.answer)}
                self.moves = {
                    item.item: before[item.item] - item.rank if item.item in before else None
                    for item in _ranked(answer)
                }
        self.answer, self.places, self.failure = answer, tuple(places), ""
        if answer is None or self.capsule not in {c.capsule for c in answer.capsules}:
            self.capsule = None

    def fail(self, why: str) -> None:
        """Store that there is no answer. An older one would not belong to the shown history."""
        self.answer, self.places, self.moves, self.failure = None, (), {}, why

    def forget_answer(self) -> None:
        """Drop the answer, because another run or other weights answer from now on."""
        self.answer, self.places, self.moves = None, (), {}

    @property
    def listed(self) -> list[Recommended]:
        """The recommendations shown: the top-K of one interest or of all."""
        if self.answer is None:
            return []
        items = self.answer.items
        for active in self.answer.capsules:
            if active.capsule == self.capsule:
                items = active.best
        return list(items[: self.top_k])

    @property
    def held_out_below(self) -> Recommended | None:
        """The held-out item if it is not in the list, else None."""
        target = self.answer.target if self.answer else None
        if target is None or any(item.item == target.item for item in self.listed):
            return None
        return target

    def capsules_of_history(self) -> Mapping[int, int | None]:
        """For each index in the history, the capsule that its item activates, or None."""
        return {place: item.capsule for place, _, item in self._answered()}

    def unread(self) -> set[int]:
        """Indices of history items that are too old to be read by the system."""
        first = self.answer.first if self.answer else 0
        return {place for place, number, _ in self._answered() if number < first}

    def _answered(self) -> Iterator[tuple[int, int, HistoryItem]]:
        """Match the answer's history with the shown one: (index here, index there, item).

        The answer may belong to the history before the last edit. Indices that hold another item
        by now are left out.
        """
        if self.answer is None:
            return
        entries = self.history.entries
        for number, item in enumerate(self.answer.history):
            place = self.places[number]
            if place < len(entries) and _same(entries[place], item):
                yield place, number, item


def _ranked(answer: Recommendation) -> Iterator[Recommended]:
    """Every item whose rank is known; some appear twice."""
    yield from answer.items
    for active in answer.capsules:
        yield from active.best


def _same(entry: Entry, item: HistoryItem) -> bool:
    if entry.item is not None:
        return entry.item == item.item
    # The Recommender collapses the spaces of a new title.
    return item.new and " ".join(entry.title.split()) == item.title


def entry_of(match: Match) -> Entry:
    """Convert a matched title to a history entry."""
    return Entry(match.item, match.title)


def entries_of(user: UserHistory, titles: Sequence[str]) -> list[Entry]:
    """Convert a user's items to history entries."""
    return [Entry(item, title) for item, title in zip(user.items, titles, strict=True)]
