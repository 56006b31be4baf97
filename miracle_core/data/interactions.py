"""Who took which item when, and the items' text: what every reader returns and prepare takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.data.dataset import ITEM_COLUMNS, SourceFile
from miracle_core.data.readers.ids import alike_notes, nearly, no_shared_item, whole_ids
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError

Place = Callable[[int], str]


@dataclass(frozen=True)
class Interactions:
    """Raw data in one form. Make it with :meth:`checked`, which refuses what doesn't fit.

    Attributes:
        events: user_id and item_id String (or Enum, which saves memory), time Int64 or Float64, and
            rating Float64 where it was asked for; one row an interaction, in input order. Equal
            times keep the input order.
        items: item_id, title, text, domain, all String; one row an item. Row order is index order.
        name: what the source calls the data set.
        sources: the raw files.
        reading: how the files were read (format and options), for the manifest.
        benchmark: the source is a published, already filtered split, to be kept as it is.
        steps: the steps of reading that left something out: the step's name, and how many users,
            items and interactions it left.
        skipped: rows that could not be used and were left out: reason, rows, first.
        notes: what the reader decided on its own and a person may want to know.
        timed: whether the times are real times; False: they are the order in the file.
        unsold: how many items of the files nobody took; they are not among ``items``.
        text: whether the source describes items in words; False: they have ids only.
        attributes: item_id, attribute, value, all String
            (:mod:`miracle_core.data.attributes`); None for none.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    name: str
    sources: tuple[SourceFile, ...] = ()
    reading: Mapping[str, Any] | None = None
    benchmark: bool = False
    steps: tuple[Mapping[str, Any], ...] = ()
    skipped: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    timed: bool = True
    unsold: int = 0
    text: bool = True
    attributes: pl.DataFrame | None = None

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
        steps: Sequence[Mapping[str, Any]] = (),
        notes: Sequence[str] = (),
        skips: Skips | None = None,
        drop_textless: bool = False,
        timed: bool = True,
        unsold: int = 0,
        text: bool = True,
        attributes: pl.DataFrame | None = None,
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
            steps: what reading left out so far.
            notes: what the reader decided.
            skips: whether rows that can't be used may be left out, and the count of those that
                were; None stops at the first.
            drop_textless: interactions with an item that has no row or no text are no error; they
                are left out in a step of their own, and so are these items.
            timed: whether the times are real times.
            unsold: how many items nobody took; they are not in ``items``.
            text: whether the source describes items in words; False: no item needs a text.
            attributes: item_id, attribute, value of any items.

        Raises:
            InputError: no events, an empty id, a time that is not a finite number, a missing
                rating, an item that is there twice, or an event of an item without a row or
                without text.
        """
        skips = skips or Skips()
        steps = list(steps)
        fix = "fix or remove it"
        if "domain" not in items.columns:
            items = items.with_columns(pl.lit(name).alias("domain"))
        events = events.select(
            *(
                pl.col(name) if events[name].dtype == pl.Enum else pl.col(name).cast(pl.String)
                for name in ("user_id", "item_id")
            ),
            pl.col("time").cast(pl.Float64 if events["time"].dtype.is_float() else pl.Int64),
            *([pl.col("rating").cast(pl.Float64)] if "rating" in events.columns else []),
        )
        items = items.select(pl.col(ITEM_COLUMNS).cast(pl.String).fill_null(""))
        events = events.with_columns(
            whole_ids(events["user_id"], "user", event_place),
            whole_ids(events["item_id"], "item", event_place),
        )
        written = items["item_id"]
        items = items.with_columns(whole_ids(written, "item", item_place))
        if attributes is not None and not written.equals(items["item_id"]):
            first = written.is_first_distinct()
            new = items["item_id"].filter(first)
            renamed = attributes["item_id"].replace(written.filter(first), new)
            attributes = attributes.with_columns(renamed)
        rows = np.arange(events.height)  # of each event left, for its place

        def keep(stays: npt.NDArray[np.bool_]) -> None:
            nonlocal events, rows
            if not stays.all():
                events, rows = events.filter(pl.Series(stays)), rows[stays]

        def place(row: int) -> str:
            return event_place(int(rows[row]))

        if not events.height:
            raise _no_interactions(name, skips)
        for column in ("user_id", "item_id"):
            empty = _empty(events[column])
            keep(skips.refuse(empty, f"no {column}", place, remedy=fix))
        infinite = (~_finite(events["time"])).to_numpy()
        keep(
            skips.refuse(
                infinite,
                "a time that can't be read",
                place,
                what=lambda row: (
                    "has no time"
                    if events["time"][row] is None
                    else "has a time that is not a finite number"
                ),
                remedy=fix,
            )
        )
        if "rating" in events.columns:
            unrated = events["rating"].is_null().to_numpy()
            keep(skips.refuse(unrated, "no rating", place, remedy=fix))
        items = _distinct_items(items, item_place, skips)
        codes = encode(events["item_id"], items["item_id"])
        if len(codes) and (codes < 0).all():
            raise no_shared_item(events["item_id"], items["item_id"], place(0))
        wordless = (items["text"] == "").to_numpy() & text
        # No row in the item table is code -1, which finds this last entry.
        textless = np.append(wordless, True)[codes]
        if not drop_textless:
            keep(
                skips.refuse(
                    codes < 0,
                    "an item that the item file doesn't have",
                    place,
                    what=lambda row: (
                        f"names the item {events['item_id'][row]!r}, which the item file "
                        f"doesn't have{nearly(events['item_id'][row], items['item_id'])}"
                    ),
                    remedy="add the item with its text to the item file, or remove the row",
                )
            )
            textless, codes = textless[codes >= 0], codes[codes >= 0]
            if textless.any() and not skips.allowed:
                # The first in the item file: that is where it is fixed.
                row = int(codes[textless].min())
                raise InputError(
                    f"the item {items['item_id'][row]!r} has no text",
                    where=item_place(row),
                    remedy="give it a title or a description, or leave such items out with "
                    "--on-error skip",
                )
        if textless.any():
            if not steps:
                steps.append(count_step("as found in the files", events))
            if drop_textless:
                remedy = "give the items a title in the item file"
                keep(~textless)
            else:
                remedy = "give them a title or a text"
                keep(skips.refuse(textless, "an item without text", place, remedy=fix))
            steps.append(count_step("items without text dropped", events, remedy))
            counted = np.zeros(items.height, dtype=bool)
            counted[codes[codes >= 0]] = True
            items = items.filter(pl.Series(~(wordless & counted)))
        if not events.height:
            raise _no_interactions(name, skips)
        untitled = items["title"] == ""
        items = items.with_columns(
            pl.when(untitled).then(pl.col("item_id")).otherwise(pl.col("title")).alias("title")
        )
        notes = [
            *notes,
            *_untitled_notes(items.filter(untitled & (items["text"] != ""))["item_id"]),
            *alike_notes("user", ids_of(events["user_id"])),
            *alike_notes("item", items["item_id"]),
        ]
        if steps and steps[-1]["interactions"] != events.height:
            steps.append(count_step("rows that can't be used skipped", events, "fix the rows"))
        return cls(
            events,
            items,
            name,
            tuple(sources),
            reading,
            benchmark,
            tuple(steps),
            tuple(skips.report()),
            tuple(notes),
            timed,
            unsold,
            text,
            attributes,
        )


def count_step(step: str, events: pl.DataFrame, keep: str = "") -> dict[str, Any]:
    """How many users, items and interactions a step of reading left.

    Args:
        step: its name.
        events: what it left.
        keep: what a person changes to keep what it left out.
    """
    return {
        "step": step,
        "users": _n_ids(events["user_id"]),
        "items": _n_ids(events["item_id"]),
        "interactions": events.height,
        **({"keep": keep} if keep else {}),
    }


def _n_ids(values: pl.Series) -> int:
    """How many ids there are, without blank ones."""
    return int((values.unique().cast(pl.String).fill_null("") != "").sum())


def _no_interactions(name: str, skips: Skips) -> InputError:
    left_out = sum(rows for rows, _ in skips.found.values())
    reasons = "; ".join(
        f"{reason} (rows: {rows:,}, the first: {first})"
        for reason, (rows, first) in skips.found.items()
    )
    return InputError(
        "holds no interactions"
        + (f" that can be used ({left_out:,} rows were skipped): {reasons}" if reasons else ""),
        where=name,
        remedy="leave out --on-error skip to see the first of them, and fix what is wrong with all"
        if reasons
        else "give a file with rows in it",
    )


def _untitled_notes(ids: pl.Series) -> list[str]:
    """A note on items that have a text but no title; none where there are none."""
    if not len(ids):
        return []
    several = f"{len(ids):,} items have" if len(ids) > 1 else "1 item has"
    return [f"{several} a text but no title, and the id takes its place (the first: {ids[0]!r})"]


def _distinct_items(items: pl.DataFrame, place: Place, skips: Skips) -> pl.DataFrame:
    """Items with an id, each once; others are refused, or left out where that is allowed."""
    nameless = (items["item_id"] == "").to_numpy()
    stays = skips.refuse(nameless, "no item_id", place, remedy="fix or remove it")
    if not skips.allowed:
        check_unique(items["item_id"], "item", place)
        return items
    again = (~items["item_id"].is_first_distinct()).to_numpy() & stays
    stays &= skips.refuse(again, "an item that is there twice", place, remedy="")
    return items.filter(pl.Series(stays)) if not stays.all() else items


def encode(values: pl.Series, names: pl.Series) -> npt.NDArray[np.int64]:
    """The row of each value in a column of distinct names, -1 for one that is not there.

    Args:
        values: String or Enum [n].
        names: String [m], distinct, without nulls.

    Returns:
        int64 [n].
    """
    if values.dtype == pl.Enum:  # look at each name once, not at each value
        table = np.append(encode(_names(values), names), -1).astype(np.int64)
        found: npt.NDArray[np.int64] = table[
            values.to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
        ]
        return found
    codes = values.cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return codes.to_numpy()


def ids_of(values: pl.Series) -> pl.Series:
    """Every id among values, each once, in any order; of an Enum also those it could hold.

    Args:
        values: String or Enum [n].

    Returns:
        String, distinct.
    """
    return _names(values) if values.dtype == pl.Enum else values.unique()


def _names(values: pl.Series) -> pl.Series:
    assert isinstance(values.dtype, pl.Enum)
    return values.dtype.categories


def _empty(values: pl.Series) -> npt.NDArray[np.bool_]:
    """Which ids are null or empty, bool [n]."""
    if values.dtype == pl.Enum and not values.null_count():
        return np.equal(encode(values, pl.Series([""])), 0)
    found: npt.NDArray[np.bool_] = (values.cast(pl.String).fill_null("") == "").to_numpy()
    return found


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


def _finite(times: pl.Series) -> pl.Series:
    return times.is_finite().fill_null(False) if times.dtype.is_float() else times.is_not_null()
