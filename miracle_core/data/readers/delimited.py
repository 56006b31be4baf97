"""Files of delimited text, read whole and strictly, with every row's place known.

Reading is vectorised (Arrow's parser). Line numbers are not kept: when something is wrong, the
file is gone through once more, line by line, to name the place.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from miracle_core.data.readers.lines import (
    LOST,
    Layout,
    check_quotes,
    diagnose,
    records,
    split_block,
)
from miracle_core.data.readers.opening import RawFile, line_blocks
from miracle_core.data.readers.tables import Table
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from miracle_core.progress import SILENT, Progress

_BLOCK = 32 << 20  # the longest row that can be read, in bytes
_SLOW = 1 << 16  # rows taken one by one before the progress is told
_LINE = "\n"  # the column of line numbers; no header can hold this name


def require_file(path: RawFile) -> None:
    """Refuse a path that is not a file, can't be read or holds nothing.

    Raises:
        InputError: with the path.
    """
    with path.open() as file:
        empty = not file.read(1)
    if empty:
        raise InputError("is empty", where=str(path), remedy="give a file with rows in it")


def read_header(path: RawFile, layout: Layout) -> tuple[list[str], str]:
    """The fields of the first row that is not empty, and ``file:line`` of it.

    Raises:
        InputError: no file, an empty one, one that is not UTF-8 there, or a repeated column.
    """
    require_file(path)
    for line, fields in records(path, layout):
        names, place = [field.strip() for field in fields], f"{path}:{line}"
        require_distinct(names, place)
        return names, place
    raise InputError("is empty", where=str(path), remedy="give a file with rows in it")


def require_distinct(names: Sequence[str], place: str) -> None:
    """Refuse a header that names a column twice.

    Raises:
        InputError: with the first such column.
    """
    doubles = [name for name in names if names.count(name) > 1]
    if doubles:
        raise InputError(
            f"the header names the column {doubles[0]!r} twice",
            where=place,
            remedy="give every column a name of its own",
        )


def require_columns(names: Sequence[str], wanted: Sequence[str], place: str) -> None:
    """Refuse a header without all of the wanted columns.

    Raises:
        InputError: with the first that is missing and those that are there.
    """
    for name in wanted:
        if name not in names:
            raise InputError(
                f"has no column {name!r} (it has: {', '.join(names)})",
                where=place,
                remedy=f"add the column {name!r} to the header, or name the right one",
            )


def read_rows(
    path: RawFile,
    layout: Layout,
    columns: Sequence[str],
    *,
    header: bool = True,
    wanted: Sequence[str] | None = None,
    skips: Skips | None = None,
    coded: Sequence[str] = (),
    whole: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Table:
    """Read a file's rows as text.

    Args:
        path: the file.
        layout: how it is written.
        columns: the names of all its columns, in order (see :func:`read_header`).
        header: whether the first row that is not empty is the header and no data.
        wanted: the columns to keep; None keeps all.
        skips: counts rows with another number of fields or bytes that are not UTF-8, if these may
            be left out.
        coded: columns of ids that come many times: as Enum, which takes a tenth of the memory.
        whole: columns of whole numbers: as Int64 if all of them are, else as text like the others.
        progress: hears of the rows, block by block.

    Raises:
        InputError: no rows, a row with another number of fields, an unclosed quote, or bytes that
            are not UTF-8, with the line.
    """
    require_file(path)
    check_quotes(path, layout)
    skip = next(records(path, layout), (0, []))[0] if header else 0
    keep = list(wanted if wanted is not None else columns)
    reached = _Reached(progress)
    if coded or whole:
        types = dict.fromkeys(coded, pa.dictionary(pa.int32(), pa.string()))
        types |= dict.fromkeys(whole, pa.int64())
        try:
            with path.open() as file:
                table = _parse(file, layout, columns, keep, skip, types, reached)
        except pa.ArrowInvalid:
            pass  # the other way finds out what is wrong, if anything is
        else:
            if table.num_rows:
                return Table(path, _frame(table), layout, header)
    try:
        with path.open() as file:
            table = _parse(file, layout, columns, keep, skip, {}, reached)
    except pa.ArrowInvalid as error:
        # Arrow says what, but not on which line; a file that ends in its header is not an error to
        # us yet.
        if skips is not None and skips.allowed:
            return _read_tolerantly(path, layout, columns, keep, skip, skips, reached)
        diagnose(path, layout, len(columns))
        rows = sum(1 for _ in records(path, layout))
        if rows > int(header):
            raise InputError(
                f"can't be read: {error}", where=str(path), remedy="write the file again"
            ) from error
        table = pa.table({name: pa.array([], pa.string()) for name in keep})
    if not table.num_rows:
        raise _no_rows(path, header)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return Table(path, frame, layout, header)


class _Reached:
    """How far into a file the reading has come: a second reading counts only what is new."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._most = progress, 0

    def row(self, number: int) -> None:
        """So many rows have been read since the file's beginning."""
        if number > self._most:
            self._progress.advance(number - self._most)
            self._most = number


def _frame(table: pa.Table) -> pl.DataFrame:
    """An Arrow table as a frame; dictionaries become Enums, without a look at any row."""
    table = table.unify_dictionaries()
    columns = []
    for name in table.column_names:
        chunks = table[name].chunks
        if pa.types.is_dictionary(table[name].type):
            codes = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
            names = pl.Series(chunks[0].dictionary.to_numpy(zero_copy_only=False), dtype=pl.String)
            column = pl.Series(name, names, dtype=pl.Enum(names)).gather(codes)
        else:
            found = pl.from_arrow(table[name])
            assert isinstance(found, pl.Series)
            column = found.alias(name)
        columns.append(column)
    return pl.DataFrame(columns)


def _no_rows(path: RawFile, header: bool) -> InputError:
    return InputError(
        "has no rows" + (" below its header" if header else ""),
        where=str(path),
        remedy="give a file with rows in it",
    )


def _parse(
    file: BinaryIO,
    layout: Layout,
    columns: Sequence[str],
    wanted: Sequence[str],
    skip: int,
    types: Mapping[str, pa.DataType],
    reached: _Reached | None = None,
) -> pa.Table:
    """Arrow's reading of a file or a part of it; what is not in ``types`` is text.

    Block by block, on as many threads as there are, some blocks ahead.
    """
    separator = layout.separator
    source: Any = file
    if len(separator) > 1:  # Arrow knows one-byte separators only; these files are small
        content = file.read().replace(b"\x1f", b" ")
        source = pa.BufferReader(content.replace(separator.encode(), b"\x1f"))
        separator = "\x1f"
    batches, rows = [], 0
    with pa_csv.open_csv(
        source,
        read_options=pa_csv.ReadOptions(
            column_names=list(columns),
            skip_rows=skip,
            block_size=_BLOCK,
            encoding="utf8" if layout.encoding == "utf-8" else layout.encoding,
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=separator,
            quote_char='"' if layout.quoted else False,
            newlines_in_values=layout.quoted,
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types={**dict.fromkeys(columns, pa.string()), **types},
            null_values=[],
            strings_can_be_null=False,
            include_columns=list(wanted),
        ),
    ) as reader:
        for batch in reader:
            batches.append(batch)
            rows += batch.num_rows
            if reached is not None:
                reached.row(rows)
        return pa.Table.from_batches(batches, reader.schema)


def _read_tolerantly(
    path: RawFile,
    layout: Layout,
    columns: Sequence[str],
    wanted: Sequence[str],
    skip: int,
    skips: Skips,
    reached: _Reached,
) -> Table:
    """The sound rows of a file, with their lines; the others are left out and counted.

    A block that is sound goes through Arrow; only the others, and files with quotes (where no one
    knows yet which line ends are rows' ends), go line by line.
    """
    frames: list[pl.DataFrame] = []
    rows_seen = 0
    if layout.quoted:
        rest = records(path, layout, tolerant=True)
        while part := list(islice(rest, _SLOW)):
            frames.append(_sound(path, part, skip, columns, skips))
            rows_seen += len(part)
            reached.row(rows_seen)
    else:
        with path.open() as file:
            for start, block in line_blocks(path, file):
                ahead = max(skip + 1 - start, 0)  # lines of the header
                try:
                    rows = _parse(io.BytesIO(block), layout, columns, columns, ahead, {})
                except pa.ArrowInvalid:
                    rows = None
                if rows is not None and rows.num_rows == block.count(b"\n") - ahead:
                    first = start + ahead
                    frame = pl.from_arrow(rows)
                    assert isinstance(frame, pl.DataFrame)
                    lines = pl.int_range(first, first + frame.height, dtype=pl.UInt32)
                    frames.append(frame.with_columns(lines.alias(_LINE)))
                else:
                    found = split_block(block, start, layout)
                    frames.append(_sound(path, found, skip, columns, skips))
                rows_seen += frames[-1].height
                reached.row(rows_seen)
    rows_left = pl.concat(frames)
    if not rows_left.height:
        raise _no_rows(path, skip > 0)
    return Table(path, rows_left.select(wanted), layout, lines=rows_left[_LINE])


def _sound(
    path: RawFile,
    found: Iterable[tuple[int, list[str]]],
    skip: int,
    columns: Sequence[str],
    skips: Skips,
) -> pl.DataFrame:
    """The records that have the right number of fields and no lost bytes, and their lines."""
    rows, lines = [], []
    for line, fields in found:
        if line <= skip:
            continue
        if len(fields) != len(columns):
            skips.add("another number of fields than the header", 1, f"{path}:{line}")
        elif any(LOST in field for field in fields):
            skips.add("bytes that are not UTF-8", 1, f"{path}:{line}")
        else:
            rows.append(fields)
            lines.append(line)
    schema = dict.fromkeys(columns, pl.String)
    frame = pl.DataFrame(rows, schema, orient="row")
    return frame.with_columns(pl.Series(_LINE, lines, pl.UInt32))
