"""Who took which item when, and the items' text: what every reader returns and prepare takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.data.dataset import ITEM_COLUMNS, SourceFile
from miracle_core.errors import InputError

EVENT_COLUMNS = ("user_id", "item_id", "time")
Place = Callable[[int], str]


@dataclass(frozen=True)
class Interactions:
    """Raw data in one form. Make it with :meth:`checked`, which refuses what doesn't fit.

    Attributes:
        events: user_id String, item_id String, time Int64 or Float64; one row an interaction, in
            input order. ``time`` only orders a user's events; equal times keep the input order.
        items: item_id, title, text, domain, all String; one row an item. Row order is index order.
        name: what the source calls the data set.
        sources: the raw files.
        reading: how the files were read (format and options), for the manifest.
        benchmark: the source is a published, already filtered split, to be kept as it is.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    name: str
    sources: tuple[SourceFile, ...] = ()
    reading: Mapping[str, Any] | None = None
    benchmark: bool = False

    @classmethod
    def checked(
        cls,
        events: pl.DataFrame,
        items: pl.DataFrame,
        *,
        name: str,
        sources: Sequence[SourceFile] = (),
        reading: Mapping[str, Any] | None = None,
        benchmark: bool = False,
        event_place: Place = "event {}".format,
        item_place: Place = "item {}".format,
    ) -> Interactions:
        """Check events against items, and bring both to their columns and types.

        Args:
            events: at least the columns of :attr:`events`.
            items: at least item_id, title and text; a missing domain becomes ``name``. Titles
                and texts are taken as they are; an empty title becomes the item's id.
            name: what the data set is called.
            sources: the raw files.
            reading: how the files were read.
            benchmark: the source is a published split.
            event_place: where row i of ``events`` stands, for messages.
            item_place: where row i of ``items`` stands, for messages.

        Raises:
            InputError: no events, an empty id, a time that is no finite number, an item that is
                there twice, or an event of an item without a row or without text.
        """
        if "domain" not in items.columns:
            items = items.with_columns(pl.lit(name).alias("domain"))
        events = events.select(
            pl.col("user_id", "item_id").cast(pl.String),
            pl.col("time").cast(pl.Float64 if events["time"].dtype.is_float() else pl.Int64),
        )
        items = items.select(pl.col(ITEM_COLUMNS).cast(pl.String).fill_null("")).with_columns(
            pl.when(pl.col("title") == "")
            .then(pl.col("item_id"))
            .otherwise(pl.col("title"))
            .alias("title")
        )
        if not events.height:
            raise InputError(
                "holds no interactions", where=name, remedy="give a file with rows in it"
            )
        for column in ("user_id", "item_id"):
            _refuse(events[column].fill_null("") == "", f"has no {column}", event_place)
        _refuse(~_finite(events["time"]), "has a time that is no finite number", event_place)
        _refuse(items["item_id"] == "", "has no item_id", item_place)
        check_unique(items["item_id"], "item", item_place)
        codes = encode(events["item_id"], items["item_id"])
        unknown = np.flatnonzero(codes < 0)
        if len(unknown):
            row = int(unknown[0])
            raise InputError(
                f"names the item {events['item_id'][row]!r}, which the item file doesn't have",
                where=event_place(row),
                remedy="add the item with its text to the item file, or remove the row",
            )
        used = np.zeros(items.height, dtype=bool)
        used[codes] = True
        wordless = np.flatnonzero(used & (items["text"] == "").to_numpy())
        if len(wordless):
            row = int(wordless[0])
            raise InputError(
                f"the item {items['item_id'][row]!r} has no text",
                where=item_place(row),
                remedy="give it a title or a description, or remove the item and its interactions",
            )
        return cls(events, items, name, tuple(sources), reading, benchmark)


def encode(values: pl.Series, names: pl.Series) -> npt.NDArray[np.int64]:
    """The row of each value in a column of distinct names, -1 for one that is not there.

    Args:
        values: String [n].
        names: String [m], distinct, without nulls.

    Returns:
        int64 [n].
    """
    codes = values.cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return codes.to_numpy()


def check_unique(ids: pl.Series, kind: str, place: Place) -> None:
    """Refuse an id that is there twice.

    Raises:
        InputError: naming both places.
    """
    if ids.n_unique() == len(ids):
        return
    again = int((~ids.is_first_distinct()).arg_max() or 0)
    first = int((ids == ids[again]).arg_max() or 0)
    raise InputError(
        f"the {kind} {ids[again]!r} is there twice (first at {place(first)})",
        where=place(again),
        remedy=f"keep one row for each {kind}",
    )


def _refuse(bad: pl.Series, what: str, place: Place) -> None:
    if bad.any():
        raise InputError(what, where=place(int(bad.arg_max() or 0)), remedy="mend or remove it")


def _finite(times: pl.Series) -> pl.Series:
    return times.is_finite().fill_null(False) if times.dtype.is_float() else times.is_not_null()
