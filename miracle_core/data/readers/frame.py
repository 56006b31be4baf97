"""Tables that a program already holds: pandas, polars or pyarrow, read as a Parquet file is."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers.joined import as_text, joined, text_columns
from miracle_core.data.readers.opening import RawFile
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.tables import Table
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError

FRAME, ITEMS = "frame", "items"  # what messages call the two tables


def read_frame(frame: Any, options: ReadOptions, items: Any = None) -> Interactions:
    """Interactions from a table with a row an interaction, and the items' text.

    What is checked, and how ids, times and texts are read, is as in
    :mod:`miracle_core.data.readers.table`; rows are counted from 1.

    Args:
        frame: a pandas or polars DataFrame, or a pyarrow Table.
        options: which columns hold what.
        items: a table of the same kinds with a row an item; None takes the text from ``frame``.

    Raises:
        InputError: no such table, a column missing, or anything that can't be read, with its row.
    """
    skips = Skips(options.on_error == "skip")
    ids = [options.user, options.item]
    more = [options.time, options.rating if options.with_ratings else None]
    keys = [*ids, *(name for name in more if name)]
    names = _names(frame, FRAME)
    _require(names, keys, FRAME)
    columns: list[str] = []
    own: list[str] = []
    if items is None:
        columns = _texts(names, options, FRAME)
        own = [*columns, *options.attributes]
    table = _table(frame, FRAME, [*keys, *own], ids, options.time)
    item_table = None
    if items is not None:
        names = _names(items, ITEMS)
        _require(names, [options.item], ITEMS)
        columns = _texts(names, options, ITEMS)
        wanted = [options.item, *columns, *options.attributes]
        item_table = _table(items, ITEMS, wanted, [options.item], None)
    return joined(
        [table],
        item_table,
        columns,
        options,
        skips,
        [],
        format="frame",
        name=options.name or FRAME,
        sources=[],
    )


def _names(frame: Any, place: str) -> list[Any]:
    """The names of a table's columns.

    Raises:
        InputError: it is no table, or one that is not there yet.
    """
    if isinstance(frame, pa.Table):
        return list(frame.column_names)
    if isinstance(frame, pl.DataFrame) or _is_pandas(frame):
        return list(frame.columns)
    lazy = isinstance(frame, pl.LazyFrame)
    raise InputError(
        f"is a {type(frame).__name__}, not a table",
        where=place,
        remedy="call .collect() first"
        if lazy
        else "give a pandas or polars DataFrame, or a pyarrow Table",
    )


def _is_pandas(frame: Any) -> bool:
    """Whether it is a pandas DataFrame; pandas is not imported to find out."""
    kind = type(frame)
    return any(
        base.__module__.partition(".")[0] == "pandas" and base.__name__ == "DataFrame"
        for base in kind.__mro__
    )


def _require(names: Sequence[Any], wanted: Sequence[str], place: str) -> None:
    for name in wanted:
        if names.count(name) != 1:
            what = "several columns" if name in names else "no column"
            raise InputError(
                f"has {what} {name!r} (it has: {', '.join(map(str, names))})",
                where=place,
                remedy="name the right one, as in user='customer'"
                if name not in names
                else "give each column a name of its own",
            )


def _texts(names: Sequence[Any], options: ReadOptions, place: str) -> list[str]:
    """The columns of an item's text, the title's first."""
    if not options.no_text and options.title is None and not options.text and "title" not in names:
        raise InputError(
            f"has no column 'title', and none is named (it has: {', '.join(map(str, names))})",
            where=place,
            remedy="name the columns that describe an item with title= and text=; or say "
            "no_text=True, for systems that know items by id only",
        )
    said = [] if options.no_text else [*([options.title] if options.title else []), *options.text]
    _require(names, [*said, *options.attributes], place)
    return text_columns(names, options, place)


def _table(
    frame: Any, place: str, wanted: Sequence[str], ids: Sequence[str], typed: str | None
) -> Table:
    """The wanted columns, as text except a ``typed`` one.

    Raises:
        InputError: a column that can't be read, or no rows.
    """
    wanted = list(dict.fromkeys(wanted))
    rows = pl.DataFrame([_column(frame, name, place) for name in wanted])
    if not rows.height:
        raise InputError("has no rows", where=place, remedy="give a table with rows in it")
    source = RawFile(Path(place))  # no file: only its name is used, in messages
    try:
        return Table(source, as_text(rows, wanted, ids, typed, Table(source, rows).place))
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"can't be read: {error}",
            where=place,
            remedy="give columns of text, numbers and dates",
        ) from error


def _column(frame: Any, name: str, place: str) -> pl.Series:
    """One column, with nulls where a value is missing."""
    try:
        if isinstance(frame, pl.DataFrame):
            return frame[name]
        if isinstance(frame, pa.Table):
            found = pl.from_arrow(frame.column(name))
        else:
            if frame[name].dtype == object:
                _refuse_mixed(frame[name], name, place)
            found = pl.from_pandas(frame[name].reset_index(drop=True))
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise InputError(
            f"the column {name!r} can't be read: {error}",
            where=place,
            remedy="give columns of text, numbers and dates",
        ) from error
    assert isinstance(found, pl.Series)
    return found.alias(name)


def _refuse_mixed(values: Any, name: str, place: str) -> None:
    """Refuse a pandas column of Python objects of several kinds: 1 and "1" may be one id or two.

    Raises:
        InputError: naming the first row that differs.
    """
    first: tuple[str, object] | None = None
    for row, (value, missing) in enumerate(zip(values, values.isna(), strict=True)):
        if missing:
            continue
        kind = _kind(value)
        if first is None:
            first = kind, value
        elif kind != first[0]:
            raise InputError(
                f"the column {name!r} holds {value!r} ({kind}), and {first[1]!r} ({first[0]}) "
                "before it",
                where=f"{place}: row {row + 1}",
                remedy=f"make them of one type, as with .astype(str) on {name!r}",
            )


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Integral):
        return "int"
    return "float" if isinstance(value, Real) else type(value).__name__
