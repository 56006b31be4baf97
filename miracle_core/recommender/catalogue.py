"""The catalogue by index, id and title; users by id."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from rapidfuzz import fuzz, process

from miracle_core.data.dataset import Dataset
from miracle_core.data.losses import left_out
from miracle_core.data.readers.clean import clean_text
from miracle_core.errors import InputError
from miracle_core.recommender.folding import fold
from miracle_core.recommender.given import (
    ItemId,
    Known,
    NewTitle,
    check_index,
    check_text,
    described,
)
from miracle_core.recommender.results import Kind, Match
from miracle_core.recommender.titles import TitleIndex

# A known id at least this near to an unknown one is named in the error.
NEAR_ID = 60.0


def clean_title(typed: str) -> str:
    """A typed title, cleaned as the catalogue's titles are and on one line.

    Raises:
        InputError: it is not text, is not valid UTF-8, has no visible character, or is page code.
    """
    check_text("a title", typed)
    try:
        typed.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            "a title is not valid UTF-8 text",
            where=f"character {error.start + 1} of {typed!a}",
            remedy="type it in a terminal set to UTF-8",
        ) from error
    if not fold([typed])[0]:
        raise InputError("a title is empty", remedy="type the title of an item")
    title: str = clean_text(pl.Series("title", [typed]))[0]
    if not fold([title])[0]:
        raise InputError(
            "a title holds nothing but page code", remedy="type the title as a person reads it"
        )
    return title


class Catalogue:
    """Looks up ids and titles, and gives those of an index.

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

    def check(self, item: int | np.integer[Any]) -> int:
        """An item's index as Python's int.

        Raises:
            InputError: it is not an integer, or is out of range.
        """
        return check_index(item, "item", self.dataset.n_items)

    def known(self, given: object) -> Known:
        """An item as a caller names it, with its id looked up or its new title on one line.

        Args:
            given: a :data:`~miracle_core.recommender.given.Given`; all else is refused.

        Raises:
            InputError: no such item, an empty title, or a type that doesn't say what is meant.
        """
        if isinstance(given, NewTitle):
            return NewTitle(clean_title(given.title))
        if isinstance(given, ItemId):
            return self.item(given.id)
        if isinstance(given, str):
            # An unknown id would pass as a title, and a title as an unknown id.
            raise InputError(
                f"{described(given)} does not say whether it is an id or a title",
                remedy="write ItemId(...) for the id of a catalogue item, NewTitle(...) for a new "
                "item, or recommender.match(...)[0].given to look it up",
            )
        return check_index(given, "item", self.dataset.n_items)

    def known_all(self, history: Sequence[object], where: str) -> list[Known]:
        """The items of a history, looked up.

        Args:
            history: as callers name them.
            where: what an error says before the item's place, which counts from 1.

        Raises:
            InputError: as :meth:`known`, and which item it is.
        """
        found = []
        for place, given in enumerate(history, start=1):
            try:
                found.append(self.known(given))
            except InputError as error:
                told = f"{where}item {place}" if where else f"item {place} of the history"
                raise InputError(error.what, where=told, remedy=error.remedy) from error
        return found

    def item(self, item_id: str) -> int:
        """The index of an item's id.

        Raises:
            InputError: it is not text, or there is none; the nearest known id is named.
        """
        check_text("an item id", item_id)
        found = self._items.get(item_id)
        if found is None:
            raise self._unknown("item", item_id, self.item_ids)
        return found

    def user(self, user_id: str) -> int:
        """The index of a user's id.

        Raises:
            InputError: it is not text, or there is none; the nearest known id is named.
        """
        check_text("a user id", user_id)
        found = self._users.get(user_id)
        if found is None:
            raise self._unknown("user", user_id, self.user_ids)
        return found

    def match(self, query: str, limit: int) -> list[Match]:
        """What a typed text means: a title, an id, nearly a title, or something new.

        Args:
            query: what was typed.
            limit: how many matches at most.

        Raises:
            InputError: it is not text, or is empty.
        """
        title = clean_title(query)
        # As it is shown, or as the source wrote it.
        exact = (self.index.exact(query) or self.index.exact(title))[:limit]
        if exact:
            return [self._match(query, item, "exact", 1.0) for item in exact]
        if title in self._items:
            return [self._match(query, self._items[title], "id", 1.0)]
        near = self.index.near(title, limit)
        if near:
            return [
                self._match(query, item, "fuzzy", self.index.similarity(title, item))
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
