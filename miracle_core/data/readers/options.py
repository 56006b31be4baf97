"""The options of how raw files are read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from miracle_core.errors import InputError

# What the command line calls the options.
_FLAGS = {
    "user": "--user-column",
    "item": "--item-column",
    "time": "--time-column",
    "title": "--title-column",
    "text": "--text-column",
    "attributes": "--attribute-column",
    "no_text": "--no-text",
    "rating": "--rating-column",
    "items": "--items",
    "order": "--order",
    "separator": "--separator",
    "recipe": "--recipe",
}


class ReadOptions(BaseModel):
    """Options of the readers. A format refuses options that it does not use.

    Attributes:
        name: what the data set is called; None takes the source's own name.
        user: the column of user ids.
        item: the column of item ids, in the events and in the item file.
        time: the column that orders a user's events: numbers, or dates and times in one format (see
            :mod:`miracle_core.data.readers.times`); None keeps the order of the file.
        title: the column of item titles; None takes ``title`` where there is one, and else the
            first sentence of the text.
        text: more columns whose text describes an item, in this order after the title.
        items: a second file with the item columns; None takes them from the events' own file.
        attributes: columns that say what an item is besides, such as its category or brand; of a
            ``table``, other formats know theirs.
        no_text: items have ids only; of a ``table`` and of ``atomic`` files.
        rating: the column of ratings of a ``table``; other formats know theirs.
        order: which comes first in a file of ratings without a header, user or item; None looks.
        separator: what separates the fields of delimited text, where it is not the usual one of
            such files: a character, or ``tab``, ``space``. Files whose first line doesn't hold
            it keep the usual one.
        recipe: a named set of filters of the format (:mod:`miracle_core.data.recipes`), or none.
        with_ratings: read the ratings too (a preparation asks for them).
        keep_unsold: read the texts of items that nobody took, too (a preparation asks for them).
        on_error: ``stop`` at the first row that can't be used, or ``skip`` and count all of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    user: str = "user_id"
    item: str = "item_id"
    time: str | None = None
    title: str | None = None
    text: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    no_text: bool = False
    items: Path | None = None
    rating: str | None = None
    order: Literal["user-first", "item-first"] | None = None
    separator: str | None = None
    recipe: str = ""
    with_ratings: bool = False
    keep_unsold: bool = False
    on_error: Literal["stop", "skip"] = "stop"

    def refuse_all_but(self, format: str, *known: str) -> None:
        """Refuse options that a format does not use.

        Raises:
            InputError: naming those that were given and aren't ``known``.
        """
        given = self.model_fields_set - {
            "name",
            "with_ratings",
            "keep_unsold",
            "on_error",
            *known,
        }
        if given:
            raise InputError(
                "files of this format say themselves what their columns are: "
                f"{', '.join(_FLAGS.get(name, name) for name in sorted(given))} can't be set",
                where=f"--format {format}",
                remedy="leave it out, or read with --format table",
            )
