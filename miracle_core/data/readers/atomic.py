"""RecBole's and UniSRec's atomic files: tab-separated, with typed headers (``item_id:token``).

Two forms, told apart by the names of the files:

plain       NAME.inter (user_id, item_id, timestamp if known) and NAME.item or NAME.text
benchmark   NAME.test.inter, with NAME.train.inter and NAME.valid.inter where given; see
            :mod:`miracle_core.data.readers.benchmark`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers.attributes import attribute_rows
from miracle_core.data.readers.clean import clean_text, join_texts, titles_of
from miracle_core.data.readers.delimited import (
    read_header,
    read_rows,
    require_columns,
    require_distinct,
)
from miracle_core.data.readers.lines import TAB, Layout
from miracle_core.data.readers.opening import RawFile, expand
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.separators import layout_of, refuse_wrong_separator
from miracle_core.data.readers.sources import describe_sources
from miracle_core.data.readers.tables import Table
from miracle_core.data.readers.times import parse_numbers, parse_times
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from miracle_core.progress import SILENT, Progress, stage

# The longer endings first: NAME.test.inter is no NAME.inter.
_ENDINGS = (
    "train.inter",
    "valid.inter",
    "test.inter",
    "inter",
    "text",
    "item",
    "item2index",
    "user2index",
)
_TITLES = ("title", "movie_title", "item_name", "name")
_CATEGORIES = ("categories", "category", "genres", "genre", "class")
_BRANDS = ("brand", "store")


@dataclass(frozen=True)
class Found:
    """The atomic files of one data set.

    Attributes:
        name: the part of the file names before the ending.
        files: the path of each ending that is there.
    """

    name: str
    files: dict[str, RawFile]

    @property
    def item_file(self) -> RawFile:
        """The file with the items' text; NAME.text where both it and NAME.item are there."""
        return self.files["text"] if "text" in self.files else self.files["item"]


def read(paths: Sequence[Path], options: ReadOptions, progress: Progress) -> Interactions:
    """Read atomic files, given as their folder or one by one.

    Raises:
        InputError: files missing, or anything in them that can't be read, with its place.
    """
    options.refuse_all_but("atomic", "separator", "no_text")
    found = find(paths, no_text=options.no_text)
    if "inter" in found.files:
        return _read_plain(found, options, progress)
    if options.no_text:
        raise InputError(
            "a published split is read with its items' text",
            where="--no-text",
            remedy="leave it out; any system can be trained on the Dataset",
        )
    from miracle_core.data.readers.benchmark import read_benchmark

    return read_benchmark(found, options, progress)


def find(paths: Sequence[Path], *, no_text: bool = False) -> Found:
    """Sort out which files make one data set; without text it needs no file of items.

    Raises:
        InputError: a path that doesn't exist or isn't atomic, several data sets, or no events or
            items among them.
    """
    where = ", ".join(str(path) for path in paths)
    sets: dict[str, dict[str, RawFile]] = {}
    for raw in expand(paths):
        for ending in _ENDINGS:
            if raw.name.endswith(f".{ending}"):
                files = sets.setdefault(raw.name.removesuffix(f".{ending}"), {})
                if ending in files:
                    raise InputError(
                        f"there are two files NAME.{ending}: {files[ending]} and {raw}",
                        where=where,
                        remedy="name one data set at a time",
                    )
                files[ending] = raw
                break
        else:
            if raw.named:
                raise InputError(
                    "is not an atomic file (NAME.inter, NAME.item, NAME.test.inter, ...)",
                    where=str(raw),
                    remedy="rename it, or read it with --format table",
                )
    if len(sets) > 1:
        raise InputError(
            f"holds several data sets: {', '.join(sorted(sets))}",
            where=where,
            remedy="name the files of one of them instead of the folder",
        )
    name, files = next(iter(sets.items()), ("NAME", {}))
    splits = [ending for ending in files if ending.endswith(".inter")]
    if "inter" in files and splits:
        raise InputError(
            f"holds both {name}.inter and {name}.{splits[0]}",
            where=where,
            remedy="name the files to read instead of the folder",
        )
    if "inter" not in files and "test.inter" not in files:
        missing = f"{name}.test.inter" if splits else f"{name}.inter (or {name}.test.inter)"
        raise InputError(
            f"{missing} is missing", where=where, remedy="add the file, or name its folder"
        )
    if "text" not in files and "item" not in files and not no_text:
        raise InputError(
            f"{name}.item (or {name}.text), the items' text, is missing",
            where=where,
            remedy="add the file; or say --no-text, for systems that know items by id only",
        )
    return Found(name, files)


def typed_rows(
    path: RawFile,
    required: Sequence[str],
    optional: Sequence[str] = (),
    skips: Skips | None = None,
    progress: Progress = SILENT,
    separator: str | None = None,
) -> Table:
    """Rows of an atomic file, with columns named without their types.

    Args:
        path: the file.
        required: columns that must be there.
        optional: columns to keep where they are there.
        skips: counts broken rows, if these may be left out.
        progress: shows the rows.
        separator: what stands between fields, where it is not a tab.

    Raises:
        InputError: as :func:`read_header` and :func:`read_rows`; or a missing column.
    """
    layout = layout_of(path, TAB, separator)
    types, place = _typed_header(path, layout)
    _require(types, required, place)
    wanted = [*required, *(name for name in optional if name in types)]
    return read_rows(path, layout, list(types), wanted=wanted, skips=skips, progress=progress)


def _require(types: Mapping[str, str], required: Sequence[str], place: str) -> None:
    """Refuse a header that lacks a column; the message shows its types, as written."""
    for name in required:
        if name not in types:
            written = [f"{column}:{kind}" if kind else column for column, kind in types.items()]
            refuse_wrong_separator(written, name, place)
    require_columns(list(types), required, place)


def _typed_header(path: RawFile, layout: Layout) -> tuple[dict[str, str], str]:
    """The columns of ``name:type`` and their types, in order, and ``file:line`` of the header."""
    header, place = read_header(path, layout)
    require_distinct([column.partition(":")[0] for column in header], place)
    return {column.partition(":")[0]: column.partition(":")[2] for column in header}, place


def read_items(
    path: RawFile,
    skips: Skips | None = None,
    progress: Progress = SILENT,
    separator: str | None = None,
) -> tuple[Table, pl.DataFrame, pl.DataFrame]:
    """The items' text from NAME.item or NAME.text, and their category and brand where told.

    If there is a column ``text``, it is the whole text. Otherwise the text is made of title,
    categories and brand, as far as they are there; without a title, of every ``token_seq`` column.

    Returns:
        The rows as read; item_id, title, text, clean, in the same order; and item_id, attribute,
        value.

    Raises:
        InputError: as :func:`typed_rows`; or a file without any column of text.
    """
    layout = layout_of(path, TAB, separator)
    types, place = _typed_header(path, layout)
    _require(types, ["item_id"], place)
    title = next((name for name in _TITLES if name in types), None)
    groups = {"category": _CATEGORIES, "brand": _BRANDS}
    more = {
        attribute: next(name for name in group if name in types)
        for attribute, group in groups.items()
        if not types.keys().isdisjoint(group)
    }
    if "text" in types:
        parts = ["text"]
    elif title:
        parts = [title, *more.values()]
    else:
        parts = [name for name, kind in types.items() if kind == "token_seq"]
    if not parts:
        require_columns(list(types), ["title"], place)
    described = list(dict.fromkeys([*([title] if title else []), *parts]))
    wanted = list(dict.fromkeys(["item_id", *described, *more.values()]))
    table = read_rows(path, layout, list(types), wanted=wanted, skips=skips, progress=progress)
    texts = {name: clean_text(table.rows[name]) for name in described}
    text = join_texts([texts[name] for name in parts], "text")
    titles = texts[title].alias("title") if title else titles_of(text)
    items = pl.DataFrame([table.rows["item_id"], titles, text])
    columns = {attribute: table.rows[name] for attribute, name in more.items()}
    attributes = attribute_rows(table.rows["item_id"], columns, several=["category"])
    return table, items, attributes


def _read_plain(found: Found, options: ReadOptions, progress: Progress) -> Interactions:
    path = found.files["inter"]
    skips = Skips(options.on_error == "skip")
    notes: list[str] = []
    item_table = None
    if not options.no_text:
        with stage(progress, f"reading {found.item_file.name}", unit="rows"):
            item_table, items, attributes = read_items(
                found.item_file, skips, progress, options.separator
            )
    with stage(progress, f"reading {path.name}", unit="rows"):
        more = ["timestamp", *(["rating"] if options.with_ratings else [])]
        table = typed_rows(path, ["user_id", "item_id"], more, skips, progress, options.separator)
        if "timestamp" in table.rows.columns:
            time = parse_times(table.rows["timestamp"], table.place, skips, notes)
        else:
            notes.append(
                f"{path.name} has no column timestamp: each user's interactions keep the order of "
                "the file"
            )
            time = pl.int_range(table.rows.height, eager=True)
        events = table.rows.select("user_id", "item_id").with_columns(time.alias("time"))
        if "rating" in table.rows.columns:
            ratings = parse_numbers(table.rows["rating"], "rating", table.place, skips)
            events = events.with_columns(ratings)
    common: dict[str, Any] = {
        "name": options.name or found.name,
        "timed": "timestamp" in table.rows.columns,
        "event_place": table.place,
        "notes": notes,
        "skips": skips,
    }
    if item_table is None:
        return Interactions.checked(
            events,
            without_text(events["item_id"]),
            sources=describe_sources([path], progress),
            reading={"format": "atomic", "form": "plain", "text": False},
            text=False,
            **common,
        )
    return Interactions.checked(
        events,
        items,
        sources=describe_sources([path, found.item_file], progress),
        reading={"format": "atomic", "form": "plain"},
        item_place=item_table.place,
        attributes=attributes,
        **common,
    )


def without_text(item_ids: pl.Series) -> pl.DataFrame:
    """Items that have ids only, each in the order of its first event."""
    ids = item_ids.cast(pl.String).unique(maintain_order=True)
    rows = pl.DataFrame({"item_id": ids}).filter(pl.col("item_id") != "")
    empty = pl.lit("", pl.String)
    return rows.with_columns(empty.alias("title"), empty.alias("text"))
