"""Compare the answers of two runs to one history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from miracle_core.errors import InputError
from tui.history import Entry

if TYPE_CHECKING:
    from miracle_core.recommender import Recommender
    from miracle_core.recommender.given import Known
    from miracle_core.recommender.results import Recommendation, Recommended


@dataclass(frozen=True)
class Pair:
    """One item in two answers.

    Attributes:
        item_id: the item's id.
        title: the item's title.
        left: the item in the first run's answer, or None if it is not there.
        right: the item in the second run's answer, or None if it is not there.
    """

    item_id: str
    title: str
    left: Recommended | None
    right: Recommended | None

    @property
    def move(self) -> int | None:
        """How many ranks higher it is in the second run; None if either run does not rank it."""
        if self.left is None or self.right is None:
            return None
        return self.left.rank - self.right.rank


def pairs(left: Recommendation, right: Recommendation, top_k: int) -> list[Pair]:
    """Pair the items of both top-K lists by their ids, sorted by the better of the two ranks."""
    of_left = {item.item_id: item for item in left.items}
    of_right = {item.item_id: item for item in right.items}
    ids = dict.fromkeys(item.item_id for item in (*left.items[:top_k], *right.items[:top_k]))
    found = []
    for item_id in ids:
        a, b = of_left.get(item_id), of_right.get(item_id)
        either = a or b
        assert either is not None
        found.append(Pair(item_id, either.title, a, b))
    return sorted(found, key=_best_rank)


def _best_rank(pair: Pair) -> tuple[int, int]:
    ranks = [item.rank for item in (pair.left, pair.right) if item is not None]
    return min(ranks), sum(ranks)


def translate(
    entries: Sequence[Entry], source: Recommender, target: Recommender
) -> tuple[list[Known], int]:
    """Translate a history to another run: match by id, then by title, else as a new title.

    Returns:
        The items, and how many were left out because the other system takes no new titles.
    """
    found: list[Known] = []
    lost = 0
    for entry in entries:
        if entry.item is not None:
            try:
                found.append(target.item(source.item_id(entry.item)))
                continue
            except InputError:
                pass
        match = target.match(entry.title)[0]
        if match.item is None and not target.abilities.new_titles:
            lost += 1
        else:
            found.append(match.given)
    return found, lost
