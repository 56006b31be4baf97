"""Common parts of the readers of shops' releases: files are sorted by their content, then joined.

A release has files of interactions and files of items, in any number and order. Each is recognised
by its first row. Items come in the order of the item files; the first row of an item counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from miracle_core.data.interactions import Interactions, count_step, ids_of
from miracle_core.data.readers.attributes import attribute_rows
from miracle_core.data.readers.clean import clean_text, join_texts
from miracle_core.data.readers.ids import no_shared_item, whole_ids
from miracle_core.data.readers.json_first import first_objects, no_objects
from miracle_core.data.readers.json_lines import Kind, read_json_lines
from miracle_core.data.readers.opening import RawFile
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.sources import describe_sources
from miracle_core.data.readers.tables import Places, Table
from miracle_core.data.readers.times import parse_times
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from miracle_core.progress import Progress, stage


@dataclass(frozen=True)
class Form:
    """The fields of a release's JSON objects, by our names for them.

    Attributes:
        events: what user_id, item_id, time and rating are called; several names are tried in turn.
        items: what item_id, title, categories and brand are called.
        kinds: what a field holds, where it is not text.
    """

    events: Mapping[str, tuple[str, ...]]
    items: Mapping[str, tuple[str, ...]]
    kinds: Mapping[str, Kind]

    def match(self, objects: Sequence[Mapping[str, Any]]) -> str | None:
        """``events`` or ``items``, by the objects of a file; None if they are neither.

        One object may lack a field (a title, mostly), so all of them are looked at.
        """
        for kind, names in (("events", self.events), ("items", self.items)):
            needed = ("user_id", "item_id", "time") if kind == "events" else ("item_id", "title")
            for found in objects:
                if all(any(name in found for name in names[field]) for field in needed):
                    return kind
        return None


@dataclass
class Sorted:
    """The files of a release, read.

    Attributes:
        events: tables with user_id, item_id, time and, where asked for, rating.
        items: tables with item_id, title, categories, brand.
        used: the files, in the order given.
        notes: what was decided.
        unread: why files that seem to belong to the release could not be recognised.
    """

    events: list[Table] = field(default_factory=list)
    items: list[Table] = field(default_factory=list)
    used: list[RawFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: list[InputError] = field(default_factory=list)

    def pass_over(self, raw: RawFile, form: Form) -> None:
        """Leave out a file of a folder that is of no kind we know; refuse one that was named.

        Raises:
            InputError: for a named file.
        """
        why = no_objects(raw)
        if raw.named:
            if why is not None:
                raise why
            events = ", ".join(names[0] for names in form.events.values())
            items = ", ".join(names[0] for names in form.items.values())
            raise InputError(
                f"is neither a file of interactions ({events}) nor of items ({items})",
                where=str(raw),
                remedy="leave it out, or name another --format (auto looks into it)",
            )
        if why is not None:
            self.unread.append(why)


def read_form(
    raw: RawFile, kind: str, form: Form, options: ReadOptions, skips: Skips, progress: Progress
) -> Table:
    """The events or items of one file of JSON lines, with our names for the columns."""
    names = dict(form.events if kind == "events" else form.items)
    if not options.with_ratings:
        names.pop("rating", None)
    fields: dict[str, Kind] = {
        name: form.kinds.get(name, "text") for group in names.values() for name in group
    }
    table = read_json_lines(raw, fields, skips, progress)
    rows = table.rows.select(pl.coalesce(group).alias(ours) for ours, group in names.items())
    return replace(table, rows=rows)


def sort_json(
    files: Sequence[RawFile], form: Form, options: ReadOptions, skips: Skips, progress: Progress
) -> Sorted:
    """Read every file of a release that is JSON lines.

    Raises:
        InputError: a named file that is neither events nor items, or anything in a file that can't
            be read.
    """
    found = Sorted()
    for raw in files:
        kind = form.match(first_objects(raw))
        if kind is None:
            found.pass_over(raw, form)
            continue
        with stage(progress, f"reading {raw.name}", unit="rows"):
            table = read_form(raw, kind, form, options, skips, progress)
        (found.events if kind == "events" else found.items).append(table)
        found.used.append(raw)
    return found


def joined(
    found: Sorted,
    format: str,
    paths: Sequence[Path],
    options: ReadOptions,
    skips: Skips,
    progress: Progress,
    reading: Mapping[str, Any] | None = None,
) -> Interactions:
    """Events and items of all files together.

    Interactions with an item that has no row or no title are left out, as a step.

    Raises:
        InputError: no file of events or none of items, or what ``Interactions.checked`` refuses.
    """
    where = ", ".join(map(str, paths))
    if not found.events or not found.items:
        if found.unread:
            raise found.unread[0]
        missing = "interactions" if not found.events else "items (titles, categories, brands)"
        raise InputError(
            f"there is no file of {missing}", where=where, remedy="name it too, after the others"
        )
    with stage(progress, "joining the items' texts"):
        frames = [table.rows for table in found.events]
        if len(frames) > 1:  # each has its own Enums
            frames = [frame.cast({pl.Enum: pl.String}) for frame in frames]
        events = _timed(pl.concat(frames, how="vertical_relaxed"), found, skips)
        items = pl.concat([table.rows for table in found.items])
        event_rows: pl.Series | None = None
        steps: list[dict[str, Any]] = []
        events = events.with_columns(whole_ids(events["item_id"], "item", Places(found.events)))
        items = items.with_columns(whole_ids(items["item_id"], "item", Places(found.items)))
        if options.recipe:
            events, event_rows, steps = _merged(events)
        rows = pl.int_range(items.height, eager=True).alias("row")
        # Rows without an id stay: checked() tells of them.
        named = items["item_id"].fill_null("") != ""
        first = ~named | items["item_id"].is_first_distinct()
        if not first.all():
            found.notes.append(
                f"{(~first).sum():,} items are there more than once: the first counts"
            )
        # Only what somebody took needs cleaning.
        taken = items["item_id"].is_in(ids_of(events["item_id"]).implode())
        if not taken.any() and (named & first).any():
            raise no_shared_item(events["item_id"], items["item_id"], Places(found.events)(0))
        keep = first & (~named | taken | options.keep_unsold)
        unsold = 0 if options.keep_unsold else int((first & named & ~taken).sum())
        items, rows = items.filter(keep), rows.filter(keep)
        parts = [clean_text(items[name]) for name in ("title", "categories", "brand")]
        text = join_texts(parts, "text")
        if not options.recipe:
            # An item without a title has no text: categories alone say too little of it.
            text = text.set(parts[0] == "", "")
        columns = {"category": items["categories"], "brand": items["brand"]}
        attributes = attribute_rows(items["item_id"], columns)
    return Interactions.checked(
        events,
        pl.DataFrame([items["item_id"], parts[0], text]),
        name=options.name or name_of(found.used),
        sources=describe_sources(found.used, progress),
        reading={
            "format": format,
            **({"recipe": options.recipe} if options.recipe else {}),
            **(reading or {}),
        },
        event_place=Places(found.events, event_rows),
        item_place=Places(found.items, rows),
        notes=found.notes,
        skips=skips,
        steps=steps,
        drop_textless=True,
        unsold=unsold,
        attributes=attributes,
    )


def _timed(events: pl.DataFrame, found: Sorted, skips: Skips) -> pl.DataFrame:
    """Events with their times read, in one way and unit for all files.

    Raises:
        InputError: a time that is not written as the others are, with its place.
    """
    times = parse_times(events["time"], Places(found.events), skips, found.notes)
    return events.with_columns(times.alias("time"))


def _merged(events: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series, list[dict[str, Any]]]:
    """The first of equal ratings, the rows of those kept, and the counts after this step."""
    rows = pl.int_range(events.height, dtype=pl.Int64, eager=True).alias("row")
    first = events.select(
        pl.struct("user_id", "item_id", "rating", "time").is_first_distinct()
    ).to_series()
    kept = events.filter(first)
    steps = [
        count_step("as found in the files", events),
        count_step("equal ratings merged", kept, "leave out --recipe"),
    ]
    return kept, rows.filter(first), steps


def name_of(files: Sequence[RawFile]) -> str:
    """The release's name: that of its files, without the part that says reviews or items."""
    name = files[0].name.split(".")[0]
    return re.sub(r"^(meta|ratings|reviews)_|(_\d+|_reviews|-ratings)$", "", name) or name
