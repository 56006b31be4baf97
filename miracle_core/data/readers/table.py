"""Any table with a row an interaction: CSV, TSV or Parquet, columns named by options."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers.clean import clean_text, join_texts, titles_of
from miracle_core.data.readers.delimited import (
    Layout,
    Table,
    read_header,
    read_rows,
    require_columns,
    require_file,
)
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.sources import describe_sources
from miracle_core.data.readers.times import parse_times
from miracle_core.errors import InputError
from miracle_core.progress import Progress, stage

_LAYOUTS = {
    ".csv": Layout(",", quoted=True),
    ".tsv": Layout("\t", quoted=True),
    ".tab": Layout("\t", quoted=True),
    ".txt": Layout("\t", quoted=True),
}
_PARQUET = (".parquet", ".pq")


def read(paths: Sequence[Path], options: ReadOptions, progress: Progress) -> Interactions:
    """Read one or more tables of interactions, in the order given, and the items' text.

    The text is the title and then the text columns. Without an item file it comes from the
    interactions' own rows: an item's title, and each of its texts, is the first one that is not
    blank.

    Raises:
        InputError: a column missing, or anything that can't be read, with its place.
    """
    tables, columns = _read_events(paths, options, progress)
    places = _Places(tables)
    frame = pl.concat([table.rows for table in tables])
    if options.time:
        time = parse_times(frame[options.time], places)
    else:
        time = pl.int_range(frame.height, eager=True)
    files = list(paths)
    if options.items is None:
        item_rows, rows = _first_texts(frame, options.item, columns)
        item_place = _Places(tables, rows)
    else:
        with stage(progress, f"reading {options.items.name}"):
            names, place = _columns(options.items)
            columns = _text_columns(names, options, place)
            item_table = _rows(options.items, names, [options.item, *columns])
        files.append(options.items)
        item_rows, item_place = item_table.rows, _Places([item_table])
    return Interactions.checked(
        frame.select(
            pl.col(options.user).alias("user_id"),
            pl.col(options.item).alias("item_id"),
            time.alias("time"),
        ),
        _described(item_rows, options, columns),
        name=options.name or paths[0].stem,
        sources=describe_sources(files, progress),
        reading={
            "format": "table",
            "columns": {
                "user": options.user,
                "item": options.item,
                "time": options.time,
                "text": columns,
            },
        },
        event_place=places,
        item_place=item_place,
    )


class _Places:
    """Where each row of several tables, end to end, stands: ``file:line``.

    Args:
        tables: the tables.
        rows: Int64 [n]; with it, ask of n things where each one's row stands.
    """

    def __init__(self, tables: Sequence[Table], rows: pl.Series | None = None) -> None:
        self._tables = tables
        self._starts = list(accumulate((table.rows.height for table in tables), initial=0))
        self._rows = rows

    def __call__(self, row: int) -> str:
        if self._rows is not None:
            row = int(self._rows[row])
        file = bisect_right(self._starts, row) - 1
        return self._tables[file].place(row - self._starts[file])


def _read_events(
    paths: Sequence[Path], options: ReadOptions, progress: Progress
) -> tuple[list[Table], list[str]]:
    """The tables of interactions, of equal columns, and which of these hold the items' text."""
    keys = [options.user, options.item, *([options.time] if options.time else [])]
    texts: list[str] = []
    tables: list[Table] = []
    for path in paths:
        with stage(progress, f"reading {path.name}"):
            names, place = _columns(path)
            require_columns(names, keys, place)
            if options.items is None and not tables:
                texts = _text_columns(names, options, place)
            require_columns(names, texts, place)
            table = _rows(path, names, list(dict.fromkeys([*keys, *texts])), typed=options.time)
            tables.append(table)
    if options.time and len({table.rows[options.time].dtype for table in tables}) > 1:
        as_text = pl.col(options.time).cast(pl.String)
        tables = [replace(table, rows=table.rows.with_columns(as_text)) for table in tables]
    return tables, texts


def _columns(path: Path) -> tuple[list[str], str]:
    """The columns of a table, and where they are named."""
    if path.is_dir():
        raise InputError("is a folder", where=str(path), remedy="name the files in it")
    require_file(path)
    if path.suffix.lower() in _PARQUET:
        try:
            return list(pq.read_schema(path).names), str(path)
        except (OSError, pa.ArrowException) as error:
            raise _no_parquet(path, error) from error
    return read_header(path, _layout(path))


def _no_parquet(path: Path, error: Exception) -> InputError:
    return InputError(
        f"can't be read as Parquet: {error}",
        where=str(path),
        remedy="write the file again, with columns of text, numbers and dates",
    )


def _layout(path: Path) -> Layout:
    layout = _LAYOUTS.get(path.suffix.lower())
    if layout is None:
        raise InputError(
            f"has the ending {path.suffix!r}, which says nothing of what is in it",
            where=str(path),
            remedy=f"name it one of: {', '.join((*_LAYOUTS, *_PARQUET))}",
        )
    return layout


def _rows(
    path: Path, names: Sequence[str], wanted: Sequence[str], typed: str | None = None
) -> Table:
    """The wanted columns of a table, as String; a ``typed`` one of Parquet keeps its type."""
    if path.suffix.lower() not in _PARQUET:
        return read_rows(path, _layout(path), names, wanted=wanted)
    try:
        rows = pl.read_parquet(path, columns=list(wanted))
        lists = [name for name, kind in rows.schema.items() if kind == pl.List(pl.String)]
        rows = rows.with_columns(pl.col(lists).list.join(" "))
        rows = rows.select(
            pl.col(name) if name == typed else pl.col(name).cast(pl.String) for name in wanted
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _no_parquet(path, error) from error
    if not rows.height:
        raise InputError("has no rows", where=str(path), remedy="give a file with rows in it")
    return Table(path, rows, layout=None)


def _text_columns(names: Sequence[str], options: ReadOptions, place: str) -> list[str]:
    """The title's column, if there is one, and the text columns, each once."""
    title = options.title or ("title" if "title" in names or not options.text else None)
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
    parts = [clean_text(rows[name]) for name in columns]
    text = join_texts(parts, "text")
    # The title's column comes first; without one the columns are those of --text-column alone.
    has_title = options.title is not None or columns[0] == "title"
    title = parts[0].alias("title") if has_title else titles_of(text)
    return pl.DataFrame([rows[options.item].alias("item_id"), title, text])
