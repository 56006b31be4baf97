"""Files of delimited text, read whole and strictly, with every row's place known.

Reading is vectorised (Arrow's parser). Line numbers are not kept: when something is wrong, the
file is gone through once more, line by line, to name the place.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from miracle_core.errors import InputError

_BLOCK = 32 << 20  # the longest row that can be read, in bytes
_MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark
_UTF8_REMEDY = "save it as UTF-8, e.g. iconv -f latin1 -t utf-8 OLD > NEW"


@dataclass(frozen=True)
class Layout:
    """How a file's rows are written.

    Attributes:
        separator: one character between fields.
        quoted: a field may stand in double quotes and then hold separators and line ends.
    """

    separator: str
    quoted: bool


TAB = Layout("\t", quoted=False)


@dataclass(frozen=True)
class Table:
    """Rows of one file.

    Attributes:
        path: the file.
        rows: all String columns, one row a line that is not empty, in the file's order.
        layout: how the file is written; None for a file without lines (Parquet).
        header: whether its first row names the columns.
    """

    path: Path
    rows: pl.DataFrame
    layout: Layout | None
    header: bool = True

    def place(self, row: int) -> str:
        """``file:line`` of a row (0-based), found by going through the file once more."""
        if self.layout is None:
            return f"{self.path}: row {row + 1}"
        wanted = row + int(self.header)
        for number, (line, _) in enumerate(_records(self.path, self.layout)):
            if number == wanted:
                return f"{self.path}:{line}"
        return str(self.path)


def require_file(path: Path) -> None:
    """Refuse a path that is no file, can't be read or holds nothing.

    Raises:
        InputError: with the path.
    """
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise InputError(
            "does not exist", where=str(path), remedy="check the spelling of the path"
        ) from error
    except OSError as error:
        raise InputError(
            f"can't be read: {error.strerror or error}",
            where=str(path),
            remedy="name a file that you may read",
        ) from error
    if empty:
        raise InputError("is empty", where=str(path), remedy="give a file with rows in it")


def read_header(path: Path, layout: Layout) -> tuple[list[str], str]:
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
    path: Path,
    layout: Layout,
    columns: Sequence[str],
    *,
    header: bool = True,
    wanted: Sequence[str] | None = None,
) -> Table:
    """Read a file's rows as text.

    Args:
        path: the file.
        layout: how it is written.
        columns: the names of all its columns, in order (see :func:`read_header`).
        header: whether the first row that is not empty is the header and no data.
        wanted: the columns to keep; None keeps all.

    Raises:
        InputError: no rows, a row with another number of fields, an unclosed quote, or bytes that
            are not UTF-8, with the line.
    """
    require_file(path)
    _check_quotes(path, layout)
    skip = next(_records(path, layout), (0, []))[0] if header else 0
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(
                column_names=list(columns), skip_rows=skip, block_size=_BLOCK
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=layout.separator,
                quote_char='"' if layout.quoted else False,
                newlines_in_values=layout.quoted,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
                include_columns=list(wanted if wanted is not None else columns),
            ),
        )
    except pa.ArrowInvalid as error:
        # Arrow says what, but not on which line; a file that ends in its header is no error to
        # us yet.
        _diagnose(path, layout, len(columns))
        rows = sum(1 for _ in _records(path, layout))
        if rows > int(header):
            raise InputError(
                f"can't be read: {error}", where=str(path), remedy="write the file again"
            ) from error
        table = pa.table({name: pa.array([], pa.string()) for name in wanted or columns})
    if not table.num_rows:
        raise InputError(
            "has no rows" + (" below its header" if header else ""),
            where=str(path),
            remedy="give a file with rows in it",
        )
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return Table(path, frame, layout, header)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file, decoded one by one, so that the first bad one can be named."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                yield (raw.removeprefix(_MARK) if number == 1 else raw).decode()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"is not UTF-8: byte 0x{raw[error.start]:02x} can't stand here",
                    where=f"{path}:{number}:{len(raw[: error.start].decode()) + 1}",
                    remedy=_UTF8_REMEDY,
                ) from error


def _records(path: Path, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, as the line it begins on and its fields."""
    if not layout.quoted:
        for number, line in enumerate(_lines(path), 1):
            if row := line.rstrip("\r\n"):
                yield number, row.split(layout.separator)
        return
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(_lines(path), delimiter=layout.separator, strict=True)
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


def _check_quotes(path: Path, layout: Layout) -> None:
    """Look closer at a file with an odd number of quotes: one left open would swallow rows."""
    if layout.quoted:
        with path.open("rb") as file:
            odd = sum(chunk.count(b'"') for chunk in iter(lambda: file.read(1 << 20), b"")) % 2
        if odd:
            for _ in _records(path, layout):
                pass


def _diagnose(path: Path, layout: Layout, expected: int) -> None:
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
