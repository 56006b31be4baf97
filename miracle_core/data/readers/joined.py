"""Tables of interactions, once they are read: joined with the items' text, checked."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from miracle_core.data.dataset import SourceFile
from miracle_core.data.interactions import Interactions, Place
from miracle_core.data.readers.attributes import BETWEEN, attribute_rows
from miracle_core.data.readers.clean import clean_text, join_texts, titles_of
from miracle_core.data.readers.delimited import listed, require_columns
from miracle_core.data.readers.ids import ids_as_text, whole_ids
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.tables import Places, Table
from miracle_core.data.readers.times import parse_numbers, parse_times
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError


def joined(
    tables: Sequence[Table],
    item_table: Table | None,
    columns: Sequence[str],
    options: ReadOptions,
    skips: Skips,
    notes: list[str],
    *,
    format: str,
    name: str,
    sources: Sequence[SourceFile],
) -> Interactions:
    """Interactions from tables of text that have been read.

    Args:
        tables: those of interactions, of equal columns, all String but the times.
        item_table: that of the items; None where the interactions' own rows describe them.
        columns: those of an item's text, the title's first.
        options: which columns hold what.
        skips: whether rows may be left out.
        notes: what was decided so far.
        format: what the manifest calls the way of reading.
        name: what the data set is called.
        sources: the raw files.

    Raises:
        InputError: anything that can't be used, with its place.
    """
    places = Places(tables)
    frame = pl.concat([table.rows for table in tables])
    frame = frame.with_columns(whole_ids(frame[options.item], "item", places))
    if options.time:
        time = parse_times(frame[options.time], places, skips, notes)
    else:
        time = pl.int_range(frame.height, eager=True)
    if item_table is None:
        described = list(dict.fromkeys([*columns, *options.attributes]))
        item_rows, rows = _first_texts(frame, options.item, described)
        item_place = Places(tables, rows)
    else:
        item_rows, item_place = item_table.rows, Places([item_table])
    ratings = _ratings(frame, options, places, skips)
    return Interactions.checked(
        frame.select(
            pl.col(options.user).alias("user_id"),
            pl.col(options.item).alias("item_id"),
            time.alias("time"),
            *([ratings] if ratings is not None else []),
        ),
        _described(item_rows, options, columns),
        text=not options.no_text,
        attributes=attribute_rows(
            item_rows[options.item], {name: item_rows[name] for name in options.attributes}
        ),
        name=name,
        timed=options.time is not None,
        sources=sources,
        reading={
            "format": format,
            "columns": {
                "user": options.user,
                "item": options.item,
                "time": options.time,
                **({"rating": options.rating} if options.with_ratings else {}),
                "text": list(columns),
                **({"attributes": list(options.attributes)} if options.attributes else {}),
            },
        },
        event_place=places,
        item_place=item_place,
        notes=notes,
        skips=skips,
    )


def _ratings(
    frame: pl.DataFrame, options: ReadOptions, place: Places, skips: Skips
) -> pl.Series | None:
    if not options.with_ratings:
        return None
    if options.rating is None:
        raise InputError(
            "which column holds the ratings isn't said",
            where="--format table",
            remedy="name it with --rating-column",
        )
    return parse_numbers(frame[options.rating].cast(pl.String), "rating", place, skips)


def as_text(
    rows: pl.DataFrame,
    wanted: Sequence[str],
    ids: Sequence[str],
    typed: str | None,
    place: Place,
) -> pl.DataFrame:
    """The wanted columns of a table with types, as String; a ``typed`` one keeps its type.

    Raises:
        InputError: a column of a type that holds no ids or no text, or ids that are no whole
            numbers, with the place of the first.
        pl.exceptions.PolarsError: a column that text can't be made of.
    """
    return rows.select(
        pl.col(name)
        if name == typed
        else ids_as_text(rows[name], place)
        if name in ids
        else _as_text(rows[name], place)
        for name in wanted
    )


def _as_text(values: pl.Series, place: Place) -> pl.Series:
    """A column of text, numbers, dates or lists of text as String."""
    if values.dtype == pl.List(pl.String):
        written = pl.element().filter(pl.element().str.contains(r"\S"))
        return values.list.eval(written).list.join(BETWEEN)
    if values.dtype.is_nested():
        raise InputError(
            f"the column {values.name!r} holds {values.dtype}, and can't be text",
            where=place(0),
            remedy="give a column of text, of numbers or of lists of text",
        )
    return values.cast(pl.String)


def text_columns(names: Sequence[str], options: ReadOptions, place: str) -> list[str]:
    """The title's column, if there is one, and the text columns, each once; none without text.

    Raises:
        InputError: a column of texts or attributes is missing.
    """
    require_columns(names, options.attributes, place)
    if options.no_text:
        return []
    if options.title is None and not options.text and "title" not in names:
        raise InputError(
            f"has no column 'title', and none is named (it has: {listed(names)})",
            where=place,
            remedy="name the columns that describe an item with --title-column and --text-column; "
            "or say --no-text, for systems that know items by id only",
        )
    title = options.title or ("title" if "title" in names else None)
    columns = list(dict.fromkeys([*([title] if title else []), *options.text]))
    require_columns(names, columns, place)
    return columns


def _first_texts(
    frame: pl.DataFrame, key: str, columns: Sequence[str]
) -> tuple[pl.DataFrame, pl.Series]:
    """Each item, in the order of its first row, with the first text of each column not blank.

    Returns:
        The items, and Int64 [items], the first row of each.
    """
    found = frame.select(pl.col(key), pl.int_range(pl.len(), dtype=pl.Int64).alias("row")).unique(
        key, keep="first", maintain_order=True
    )
    items = found.select(key)
    for column in columns:
        said = (
            frame.select(pl.col(key), pl.col(column))
            .filter(pl.col(column).str.contains(r"\S"))
            .unique(key, keep="first", maintain_order=True)
        )
        items = items.join(said, on=key, how="left", maintain_order="left")
    return items, found["row"]


def _described(rows: pl.DataFrame, options: ReadOptions, columns: Sequence[str]) -> pl.DataFrame:
    """item_id, title and text, clean, one row a row."""
    if not columns:
        empty = pl.lit("", pl.String)
        return rows.select(
            pl.col(options.item).alias("item_id"), empty.alias("title"), empty.alias("text")
        )
    parts = [clean_text(rows[name]) for name in columns]
    text = join_texts(parts, "text")
    # The title's column comes first; without one the columns are those of --text-column alone.
    has_title = options.title is not None or columns[0] == "title"
    title = parts[0].alias("title") if has_title else titles_of(text)
    return pl.DataFrame([rows[options.item].alias("item_id"), title, text])
