"""Files of delimited text, read whole and strictly, with every row's place known.

Reading is vectorised (Arrow's parser). Line numbers are not kept: when something is wrong, the
file is gone through once more, line by line, to name the place.
"""

from __future__ import annotations

import codecs
import csv
import io
import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from miracle_core.data.readers.opening import MARK, RawFile, line_blocks
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError

_BLOCK = 32 << 20  # the longest row that can be read, in bytes
_UTF8_REMEDY = "save it as UTF-8, e.g. iconv -f latin1 -t utf-8 OLD > NEW"


@dataclass(frozen=True)
class Layout:
    """How a file's rows are written.

    Attributes:
        separator: what stands between fields; several characters only where nothing is quoted.
        quoted: a field may stand in double quotes and then hold separators and line ends.
        encoding: how text is written as bytes.
    """

    separator: str
    quoted: bool
    encoding: str = "utf-8"


TAB = Layout("\t", quoted=False)


@dataclass(frozen=True)
class Table:
    """Rows of one file.

    Attributes:
        path: the file.
        rows: one row a line that is not empty, in the file's order; delimited text is all String.
        layout: how the file is written; None for a file without lines (Parquet, a workbook).
        header: whether its first row names the columns.
        lines: the line of each row, where they are known.
    """

    path: RawFile
    rows: pl.DataFrame
    layout: Layout | None
    header: bool = True
    lines: pl.Series | None = None

    def place(self, row: int) -> str:
        """``file:line`` of a row (0-based), found by going through the file once more."""
        if self.lines is not None:
            return f"{self.path}:{self.lines[row]}"
        if self.layout is None:
            return f"{self.path}: row {row + 1}"
        wanted = row + int(self.header)
        for number, (line, _) in enumerate(_records(self.path, self.layout)):
            if number == wanted:
                return f"{self.path}:{line}"
        return str(self.path)


class Places:
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
        """``file:line`` of a row of all tables together."""
        if self._rows is not None:
            row = int(self._rows[row])
        file = bisect_right(self._starts, row) - 1
        return self._tables[file].place(row - self._starts[file])


def require_file(path: RawFile) -> None:
    """Refuse a path that is no file, can't be read or holds nothing.

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
    for line, fields in _records(path, layout):
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

    Raises:
        InputError: no rows, a row with another number of fields, an unclosed quote, or bytes that
            are not UTF-8, with the line.
    """
    require_file(path)
    _check_quotes(path, layout)
    skip = next(_records(path, layout), (0, []))[0] if header else 0
    keep = list(wanted if wanted is not None else columns)
    if coded or whole:
        types = dict.fromkeys(coded, pa.dictionary(pa.int32(), pa.string()))
        types |= dict.fromkeys(whole, pa.int64())
        try:
            with path.open() as file:
                table = _parse(file, layout, columns, keep, skip, types)
        except pa.ArrowInvalid:
            pass  # the other way finds out what is wrong, if anything is
        else:
            if table.num_rows:
                return Table(path, _frame(table), layout, header)
    try:
        with path.open() as file:
            table = _parse(file, layout, columns, keep, skip)
    except pa.ArrowInvalid as error:
        # Arrow says what, but not on which line; a file that ends in its header is no error to
        # us yet.
        if skips is not None and skips.allowed:
            return _read_tolerantly(path, layout, columns, keep, skip, skips)
        _diagnose(path, layout, len(columns))
        rows = sum(1 for _ in _records(path, layout))
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
    types: Mapping[str, pa.DataType] | None = None,
) -> pa.Table:
    """Arrow's reading of a file or a part of it; what is not in ``types`` is text."""
    separator = layout.separator
    source: Any = file
    if len(separator) > 1:  # Arrow knows one-byte separators only; these files are small
        content = file.read().replace(b"\x1f", b" ")
        source = pa.BufferReader(content.replace(separator.encode(), b"\x1f"))
        separator = "\x1f"
    return pa_csv.read_csv(
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
            column_types={**dict.fromkeys(columns, pa.string()), **(types or {})},
            null_values=[],
            strings_can_be_null=False,
            include_columns=list(wanted),
        ),
    )


def _read_tolerantly(
    path: RawFile,
    layout: Layout,
    columns: Sequence[str],
    wanted: Sequence[str],
    skip: int,
    skips: Skips,
) -> Table:
    """The sound rows of a file, with their lines; the others are left out and counted.

    A block that is sound goes through Arrow; only the others, and files with quotes (where no one
    knows yet which line ends are rows' ends), go line by line.
    """
    if layout.quoted:
        frames = [_sound(path, _records(path, layout, tolerant=True), skip, columns, skips)]
    else:
        frames = []
        with path.open() as file:
            for start, block in line_blocks(path, file):
                ahead = max(skip + 1 - start, 0)  # lines of the header
                try:
                    rows = _parse(io.BytesIO(block), layout, columns, columns, ahead)
                except pa.ArrowInvalid:
                    rows = None
                if rows is not None and rows.num_rows == block.count(b"\n") - ahead:
                    first = start + ahead
                    frame = pl.from_arrow(rows)
                    assert isinstance(frame, pl.DataFrame)
                    lines = pl.int_range(first, first + frame.height, dtype=pl.UInt32)
                    frames.append(frame.with_columns(lines.alias(_LINE)))
                else:
                    records = _split(block, start, layout)
                    frames.append(_sound(path, records, skip, columns, skips))
    rows_left = pl.concat(frames)
    if not rows_left.height:
        raise _no_rows(path, skip > 0)
    return Table(path, rows_left.select(wanted), layout, lines=rows_left[_LINE])


def _split(block: bytes, start: int, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    for number, raw in enumerate(block.split(b"\n"), start):
        if row := raw.decode(layout.encoding, "miracle-lost").rstrip("\r"):
            yield number, row.split(layout.separator)


def _sound(
    path: RawFile,
    records: Iterator[tuple[int, list[str]]],
    skip: int,
    columns: Sequence[str],
    skips: Skips,
) -> pl.DataFrame:
    """The records that have the right number of fields and no lost bytes, and their lines."""
    rows, lines = [], []
    for line, fields in records:
        if line <= skip:
            continue
        if len(fields) != len(columns):
            skips.add("another number of fields than the header", 1, f"{path}:{line}")
        elif any(_LOST in field for field in fields):
            skips.add("bytes that are not UTF-8", 1, f"{path}:{line}")
        else:
            rows.append(fields)
            lines.append(line)
    schema = dict.fromkeys(columns, pl.String)
    frame = pl.DataFrame(rows, schema, orient="row")
    return frame.with_columns(pl.Series(_LINE, lines, pl.UInt32))


# The column of line numbers; no header can hold this name.
_LINE = "\n"
# Stands for a byte that could not be decoded; no valid UTF-8 decodes to it.
_LOST = "\udcff"


def _lost(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _LOST, error.end


codecs.register_error("miracle-lost", _lost)


def _lines(path: RawFile, encoding: str, tolerant: bool) -> Iterator[str]:
    """The lines of a file, decoded one by one, so that the first bad one can be named."""
    with path.open() as file:
        for number, raw in enumerate(file, 1):
            line = raw.removeprefix(MARK) if number == 1 else raw
            try:
                yield line.decode(encoding, "miracle-lost" if tolerant else "strict")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"is not UTF-8: byte 0x{line[error.start]:02x} can't stand here",
                    where=f"{path}:{number}:{len(line[: error.start].decode()) + 1}",
                    remedy=_UTF8_REMEDY,
                ) from error


def _records(
    path: RawFile, layout: Layout, tolerant: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, as the line it begins on and its fields."""
    lines = _lines(path, layout.encoding, tolerant)
    if not layout.quoted:
        for number, line in enumerate(lines, 1):
            if row := line.rstrip("\r\n"):
                yield number, row.split(layout.separator)
        return
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, delimiter=layout.separator, strict=True)
    begins = 1
    try:
        for fields in reader:
            if fields:
                yield begins, fields
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"can't be read: {error}",
            where=f"{path}:{begins}",
            remedy='close the quotes; a quote inside a quoted field is written ""',
        ) from error


def _check_quotes(path: RawFile, layout: Layout) -> None:
    """Look closer at a file with an odd number of quotes: one left open would swallow rows."""
    if layout.quoted:
        with path.open() as file:
            odd = sum(chunk.count(b'"') for chunk in iter(lambda: file.read(1 << 20), b"")) % 2
        if odd:
            for _ in _records(path, layout):
                pass


def _diagnose(path: RawFile, layout: Layout, expected: int) -> None:
    """Name the first line that is not UTF-8 or has another number of fields."""
    for line, fields in _records(path, layout):
        if len(fields) != expected:
            raise InputError(
                f"has {len(fields)} field{'s' * (len(fields) != 1)}, expected {expected}",
                where=f"{path}:{line}",
                remedy="mend the line: a separator is missing, too many, or not quoted",
            )
        if not layout.quoted and any("\r" in field for field in fields):
            raise InputError(
                "holds a carriage return in the middle of a line",
                where=f"{path}:{line}",
                remedy="remove it, or end lines with a line feed",
            )
