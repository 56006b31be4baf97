"""Any table with a row an interaction: CSV, TSV or Parquet, columns named by options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers.delimited import (
    read_header,
    read_rows,
    require_columns,
    require_file,
    require_some,
)
from miracle_core.data.readers.joined import as_text, joined, text_columns
from miracle_core.data.readers.lines import TAB, Layout
from miracle_core.data.readers.opening import RawFile, expand, native
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.separators import layout_of, quoted_or_not
from miracle_core.data.readers.sources import describe_sources
from miracle_core.data.readers.tables import Table
from miracle_core.data.readers.times import times_as_text
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from miracle_core.progress import Progress, stage

# Tabs rarely come with quoting: see quoted_or_not.
LAYOUTS = {".csv": Layout(",", quoted=True), ".tsv": TAB, ".tab": TAB, ".txt": TAB}
_PARQUET = (".parquet", ".pq")
_OPTIONS = (
    "user",
    "item",
    "time",
    "title",
    "text",
    "attributes",
    "no_text",
    "items",
    "rating",
    "separator",
)


def read(paths: Sequence[Path], options: ReadOptions, progress: Progress) -> Interactions:
    """Read one or more tables of interactions, in the order given, and the items' text.

    The text is the title and then the text columns. Without an item file it comes from the
    interactions' own rows: an item's title, and each of its texts, is the first one that is not
    blank.

    Raises:
        InputError: a column missing, or anything that can't be read, with its place.
    """
    options.refuse_all_but("table", *_OPTIONS)
    if options.user == options.item:
        raise InputError(
            f"{options.user!r} is named as the column of users and as that of items",
            where="--user-column --item-column",
            remedy="name two columns",
        )
    skips = Skips(options.on_error == "skip")
    for path in paths:
        if path.is_dir():
            raise InputError("is a folder", where=str(path), remedy="name the files in it")
    raw = expand(paths)
    notes: list[str] = []
    tables, columns = _read_events(raw, options, skips, notes, progress)
    item_table = None
    if options.items is not None:
        with stage(progress, f"reading {options.items.name}", unit="rows"):
            (item_file,) = _only(expand([options.items]))
            layout = _layout(item_file, options, notes)
            names, place = _columns(item_file, layout)
            require_columns(names, [options.item], place)
            columns = text_columns(names, options, place)
            wanted = list(dict.fromkeys([options.item, *columns, *options.attributes]))
            item_table = _rows(item_file, layout, names, wanted, [options.item], skips, progress)
        raw.append(item_file)
    return joined(
        tables,
        item_table,
        columns,
        options,
        skips,
        notes,
        format="table",
        name=options.name or raw[0].stem,
        sources=describe_sources(raw, progress),
    )


def _only(files: Sequence[RawFile]) -> Sequence[RawFile]:
    if len(files) != 1:
        raise InputError(
            f"holds {len(files)} files",
            where=str(files[0].path.parent if not files[0].member else files[0].path),
            remedy="name the one file with the items",
        )
    return files


def _read_events(
    files: Sequence[RawFile],
    options: ReadOptions,
    skips: Skips,
    notes: list[str],
    progress: Progress,
) -> tuple[list[Table], list[str]]:
    """The tables of interactions, of equal columns, and which of these hold the items' text."""
    ids = [options.user, options.item]
    more = [options.time, options.rating if options.with_ratings else None]
    keys = [*ids, *(name for name in more if name)]
    texts: list[str] = []
    tables: list[Table] = []
    for path in files:
        with stage(progress, f"reading {path.name}", unit="rows"):
            layout = _layout(path, options, notes)
            names, place = _columns(path, layout)
            require_columns(names, keys, place)
            if options.items is None and not tables:
                texts = text_columns(names, options, place)
            own = [] if options.items is not None else [*texts, *options.attributes]
            require_columns(names, own, place)
            wanted = list(dict.fromkeys([*keys, *own]))
            tables.append(_rows(path, layout, names, wanted, ids, skips, progress, options.time))
    if options.time and len({table.rows[options.time].dtype for table in tables}) > 1:
        tables = [
            replace(
                table,
                rows=table.rows.with_columns(times_as_text(table.rows[options.time], table.place)),
            )
            for table in tables
        ]
    return tables, texts


def _columns(path: RawFile, layout: Layout | None) -> tuple[list[str], str]:
    """The columns of a table, and where they are named."""
    if layout is None:
        require_some(path)
        try:
            return list(pq.read_schema(_seekable(path)).names), str(path)
        except (OSError, pa.ArrowException) as error:
            raise _no_parquet(path, error) from error
    return read_header(path, layout)


def _seekable(path: RawFile) -> Path | pa.BufferReader:
    """Parquet is read from its end."""
    return path.path if path.plain else native(path.read())


def _no_parquet(path: RawFile, error: Exception) -> InputError:
    return InputError(
        f"can't be read as Parquet: {str(error).splitlines()[0] if str(error) else 'no reason'}",
        where=str(path),
        remedy="write the file again, with columns of text, numbers and dates",
    )


def _layout(path: RawFile, options: ReadOptions, notes: list[str]) -> Layout | None:
    """How a table is written; None for Parquet."""
    if path.suffix in _PARQUET:
        return None
    usual = LAYOUTS.get(path.suffix, TAB if options.separator is not None else None)
    if usual is None and path.suffix in (".json", ".jsonl", ".ndjson"):
        raise InputError(
            "is JSON by its name, and no table",
            where=str(path),
            remedy="leave --format out, so that it is looked into; or write it as CSV",
        )
    if usual is None:
        raise InputError(
            f"has the ending {path.suffix!r}, which says nothing of what is in it",
            where=str(path),
            remedy=f"name it one of: {', '.join((*LAYOUTS, *_PARQUET))}; or say what stands "
            "between its fields with --separator",
        )
    require_file(path)
    layout, ordinary = quoted_or_not(path, layout_of(path, usual, options.separator))
    if ordinary:
        notes.append(f"{path.name}: quotes don't pair up as in CSV, and are read as they stand")
    return layout


def _rows(
    path: RawFile,
    layout: Layout | None,
    names: Sequence[str],
    wanted: Sequence[str],
    ids: Sequence[str],
    skips: Skips,
    progress: Progress,
    typed: str | None = None,
) -> Table:
    """The wanted columns of a table, as String; a ``typed`` one of Parquet keeps its type.

    Raises:
        InputError: anything that can't be read, or ids that are floats and not whole.
    """
    if layout is not None:
        return read_rows(path, layout, names, wanted=wanted, skips=skips, progress=progress)
    try:
        rows = _read_parquet(path, wanted, progress)
        rows = as_text(rows, wanted, ids, typed, Table(path, rows).place)
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise _no_parquet(path, error) from error
    if not rows.height:
        raise InputError("has no rows", where=str(path), remedy="give a file with rows in it")
    return Table(path, rows)


def _read_parquet(path: RawFile, wanted: Sequence[str], progress: Progress) -> pl.DataFrame:
    """The wanted columns, group of rows by group of rows."""
    file = pq.ParquetFile(_seekable(path))
    groups = []
    for group in range(file.num_row_groups):
        groups.append(file.read_row_group(group, columns=list(wanted)))
        progress.advance(groups[-1].num_rows)
    schema = pa.schema([file.schema_arrow.field(name) for name in wanted])
    rows = pl.from_arrow(pa.concat_tables(groups) if groups else schema.empty_table())
    assert isinstance(rows, pl.DataFrame)
    return rows.select(wanted)
