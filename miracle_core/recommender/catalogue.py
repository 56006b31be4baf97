"""The catalogue by index, id and title; users by id."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from rapidfuzz import fuzz, process

from miracle_core.data.dataset import Dataset
from miracle_core.data.losses import left_out
from miracle_core.errors import InputError
from miracle_core.recommender.folding import fold
from miracle_core.recommender.results import Kind, Match
from miracle_core.recommender.titles import TitleIndex

# A known id at least this near to an unknown one is named in the error.
NEAR_ID = 60.0


def clean_title(typed: str) -> str:
    """A typed title on one line.

    Raises:
        InputError: there is nothing to see in it, or it is not valid text.
    """
    try:
        typed.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            "a title is not valid UTF-8 text",
            where=f"character {error.start + 1} of {typed!a}",
            remedy="type it in a terminal set to UTF-8",
        ) from error
    title = " ".join(typed.split())
    if not fold([title])[0]:
        raise InputError("a title is empty", remedy="type the title of an item")
    return title


class Catalogue:
    """Names in, indices out, and back.

    Args:
        dataset: whose items and users.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @cached_property
    def titles(self) -> list[str]:
        """Every item's title."""
        titles: list[str] = self.dataset.items["title"].to_list()
        return titles

    @cached_property
    def item_ids(self) -> list[str]:
        """Every item's id."""
        ids: list[str] = self.dataset.items["item_id"].to_list()
        return ids

    @cached_property
    def index(self) -> TitleIndex:
        """Finds titles; built when first asked for (2 s for 100,000 titles)."""
        return TitleIndex(self.titles, self.dataset.training_counts())

    def check(self, item: int) -> int:
        """The item, if there is such an index.

        Raises:
            InputError: there is none.
        """
        if not 0 <= item < self.dataset.n_items:
            raise InputError(
                f"there is no item {item} in the catalogue",
                remedy=f"indices go from 0 to {self.dataset.n_items - 1}",
            )
        return item

    def item(self, item_id: str) -> int:
        """The index of an item's id.

        Raises:
            InputError: there is none; the nearest known id is named.
        """
        found = self._items.get(item_id)
        if found is None:
            raise self._unknown("item", item_id, self.item_ids)
        return found

    def user(self, user_id: str) -> int:
        """The index of a user's id.

        Raises:
            InputError: there is none; the nearest known id is named.
        """
        found = self._users.get(user_id)
        if found is None:
            raise self._unknown("user", user_id, self.user_ids)
        return found

    def match(self, query: str, limit: int) -> list[Match]:
        """What a typed text means: a title, an id, nearly a title, or something new.

        Raises:
            InputError: there is nothing in the text.
        """
        title = clean_title(query)
        exact = self.index.exact(query)[:limit]
        if exact:
            return [self._match(query, item, "exact", 1.0) for item in exact]
        if title in self._items:
            return [self._match(query, self._items[title], "id", 1.0)]
        near = self.index.near(query, limit)
        if near:
            return [
                self._match(query, item, "fuzzy", self.index.similarity(query, item))
                for item in near
            ]
        return [Match(query, None, None, title, "new", 0.0)]

    @cached_property
    def user_ids(self) -> list[str]:
        """Every user's id."""
        ids: list[str] = self.dataset.users["user_id"].to_list()
        return ids

    def _match(self, query: str, item: int, kind: Kind, similarity: float) -> Match:
        return Match(query, item, self.item_ids[item], self.titles[item], kind, similarity)

    @cached_property
    def _items(self) -> dict[str, int]:
        return {item_id: index for index, item_id in enumerate(self.item_ids)}

    @cached_property
    def _users(self) -> dict[str, int]:
        return {user_id: index for index, user_id in enumerate(self.user_ids)}

    def _unknown(self, what: Literal["user", "item"], given: str, known: list[str]) -> InputError:
        near = process.extractOne(
            given, known, scorer=fuzz.ratio, processor=str.lower, score_cutoff=NEAR_ID
        )
        advice = f"did you mean {near[0]}?" if near else f"ids look like {known[0]}"
        lost = left_out(self.dataset, what)
        return InputError(
            f"there is no {what} {given!r}",
            where=str(self.dataset.folder),
            remedy=f"{advice}; {lost}" if lost else advice,
        )
