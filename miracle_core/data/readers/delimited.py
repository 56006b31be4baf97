"""Files of delimited text, read whole and strictly, with every row's place known.

A file is read block by block, each of whole lines. Arrow parses a block if every line is a row by
itself. Any other block (with a broken line, a blank one, or a quoted field that spans lines) is
read row by row, so that what is wrong is named with its line, or left out and counted.

Arrow is given only memory of its own. Its threads may outlive an error, and a thread that still
held a Python object when the interpreter ends would abort the process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from miracle_core.data.readers.encodings import refuse_other_kinds
from miracle_core.data.readers.lines import Fault, Layout, records
from miracle_core.data.readers.opening import MARK, RawFile, line_blocks, native
from miracle_core.data.readers.quotes import quoting
from miracle_core.data.readers.separators import refuse_wrong_separator
from miracle_core.data.readers.tables import Table
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError, nearest
from miracle_core.progress import SILENT, Progress

_THREAD = 2 << 20  # bytes that one of Arrow's threads takes at a time
_LONGEST_HEADER = 64 << 20
_NAMES, _NAME = 40, 60  # how many columns a message names, and letters of each
_UNIT = "\x1f"  # stands for a separator of several characters, of which Arrow knows none


def require_some(path: RawFile) -> bytes:
    """Refuse a path that is not a file, can't be read or holds nothing.

    Returns:
        Its first bytes.

    Raises:
        InputError: with the path.
    """
    with path.open() as file:
        beginning = file.read(64)
    if not beginning:
        raise InputError("is empty", where=str(path), remedy="give a file with rows in it")
    return beginning


def require_file(path: RawFile) -> None:
    """Refuse a path that is not a file, can't be read, holds nothing, or no text in UTF-8.

    Raises:
        InputError: with the path.
    """
    refuse_other_kinds(path, require_some(path))


def read_header(path: RawFile, layout: Layout) -> tuple[list[str], str]:
    """The fields of the first row that is not blank, and ``file:line`` of it.

    Raises:
        InputError: no file, an empty one, one that is not UTF-8 there, or a repeated column.
    """
    require_file(path)
    with path.open() as file:
        for number in count(1):
            raw = file.readline(_LONGEST_HEADER)
            if not raw:
                break
            line = (raw.removeprefix(MARK) if number == 1 else raw).rstrip(b"\n")
            if number <= layout.skip or not line.strip(b"\r"):
                continue
            found = next(records(deque([(number, line)]), lambda: False, layout))
            if isinstance(found, Fault):
                if b"\n" not in raw and b"\r" in line.strip(b"\r"):
                    raise InputError(
                        "has lines that end with a carriage return alone, as on old Macs",
                        where=f"{path}:1",
                        remedy="save it with line feeds, e.g. tr '\\r' '\\n' < OLD > NEW",
                    )
                found.tell(path, None)
                break
            names, place = [field.strip() for field in found.fields], f"{path}:{number}"
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


def listed(names: Sequence[str]) -> str:
    """Names of columns for a message: the first of many, with nothing invisible in them."""
    some = [name[:_NAME] if name.isprintable() else repr(name[:_NAME])[1:-1] for name in names]
    return ", ".join(some[:_NAMES]) + (", ..." if len(some) > _NAMES else "")


def require_columns(names: Sequence[str], wanted: Sequence[str], place: str) -> None:
    """Refuse a header without all of the wanted columns.

    Raises:
        InputError: with the first that is missing and those that are there, or with the separator
            that splits the header into the right ones.
    """
    for name in wanted:
        if name not in names:
            refuse_wrong_separator(names, name, place)
            alike = [other for other in names if other.strip().lower() == name.lower()]
            near = alike[0] if alike else nearest(name, names)
            raise InputError(
                f"has no column {name!r} (it has: {listed(names)})",
                where=place,
                remedy=f"write {near!r}, or {name!r} in the header"
                if near is not None
                else f"add the column {name!r} to the header, or name the right one",
            )


@dataclass(frozen=True)
class _Piece:
    """Rows of one block, and the lines they stand on."""

    rows: pa.Table
    lines: range | list[int]


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
        header: whether the first row that is not blank is the header and no data.
        wanted: the columns to keep; None keeps all.
        skips: counts rows that can't be read (another number of fields, a quote that is not closed,
            bytes that are not UTF-8), if these may be left out.
        coded: columns of ids that come many times: as Enum, which takes a tenth of the memory.
        whole: columns of whole numbers: as Int64 if all of them are, else as text like the others.
        progress: shows the rows, block by block.

    Raises:
        InputError: no rows, or one that can't be read, with the line.
    """
    require_file(path)
    keep = list(wanted if wanted is not None else columns)
    types = dict.fromkeys(columns, pa.string())
    types |= dict.fromkeys(coded, pa.dictionary(pa.int32(), pa.string()))
    kinds = [types | dict.fromkeys(whole, pa.int64()), types] if whole else [types]
    pieces: list[_Piece] = []
    with path.open() as file:
        blocks = line_blocks(path, file)
        before = layout.skip if not header else None  # lines before the first row
        for start, block in blocks:
            if before is None:
                before = _header_line(start, block, layout)
            if before is None:
                continue
            ahead = min(max(before + 1 - start, 0), block.count(b"\n"))
            piece = _fast(start, block, ahead, layout, columns, keep, kinds)
            if piece is None:
                more = _following(blocks)
                piece = _slow(path, start, block, before, more, layout, columns, keep, types, skips)
            pieces.append(piece)
            progress.advance(piece.rows.num_rows)
    pieces = [piece for piece in pieces if piece.rows.num_rows]
    if not pieces:
        raise InputError(
            "has no rows" + (" below its header" if header else ""),
            where=str(path),
            remedy="give a file with rows in it",
        )
    tables = _of_one_type([piece.rows for piece in pieces], whole)
    frame = _frame(pa.concat_tables(tables))
    first = pieces[0].lines[0]
    if all(
        isinstance(piece.lines, range)
        and (at == 0 or piece.lines[0] == pieces[at - 1].lines[-1] + 1)
        for at, piece in enumerate(pieces)
    ):
        return Table(path, frame, first=first)
    lines = np.concatenate([np.asarray(piece.lines, dtype=np.uint32) for piece in pieces])
    return Table(path, frame, lines=pl.Series(lines))


def _header_line(start: int, block: bytes, layout: Layout) -> int | None:
    """The line of the header, if it is in a block."""
    for number, line in enumerate(block.split(b"\n", 1000 + layout.skip), start):
        if number > layout.skip and line.strip(b"\r\n"):
            return number
    return None


def _numbered(start: int, block: bytes) -> deque[tuple[int, bytes]]:
    """The lines of a block, each with its number."""
    return deque(enumerate(block.split(b"\n")[:-1], start))


def _following(blocks: Iterator[tuple[int, bytes]]) -> Callable[[], deque[tuple[int, bytes]]]:
    """What gives the lines of the next block, or none at the file's end."""

    def lines() -> deque[tuple[int, bytes]]:
        start, block = next(blocks, (0, b""))
        return _numbered(start, block)

    return lines


def _fast(
    start: int,
    block: bytes,
    ahead: int,
    layout: Layout,
    columns: Sequence[str],
    wanted: Sequence[str],
    kinds: Sequence[Mapping[str, pa.DataType]],
) -> _Piece | None:
    """A block as Arrow reads it, or None where not every line is a sound row by itself.

    Args:
        start: the number of its first line.
        block: whole lines.
        ahead: how many lines of it come before the first row.
        layout: how it is written.
        columns: the names of all columns.
        wanted: the columns to keep.
        kinds: types to try, one after the other.
    """
    rows = block.count(b"\n") - ahead
    if block.count(b"\r") != block.count(b"\r\n") or b"\0" in block:
        return None
    quoted = layout.quoted and b'"' in block
    separator = layout.separator
    if quoted or layout.encoding != "utf-8":
        try:
            text = block.decode(layout.encoding)
        except UnicodeDecodeError:
            return None
        if quoted and not quoting(separator).sound(text):
            return None
        if layout.encoding != "utf-8":
            block = text.encode()
    if len(separator.encode()) > 1:
        if _UNIT.encode() in block:
            return None
        block = block.replace(separator.encode(), _UNIT.encode())
        separator = _UNIT
    for types in kinds:
        try:
            table = pa_csv.read_csv(
                native(block),
                read_options=pa_csv.ReadOptions(
                    column_names=list(columns), skip_rows=ahead, block_size=_THREAD
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=separator, quote_char='"' if quoted else False
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=types,
                    null_values=[],
                    strings_can_be_null=False,
                    include_columns=list(wanted),
                ),
            )
        except pa.ArrowInvalid:
            continue  # the other way finds out what is wrong, if anything is
        if table.num_rows != rows:
            return None
        return _Piece(table, range(start + ahead, start + ahead + rows))
    return None


def _slow(
    path: RawFile,
    start: int,
    block: bytes,
    before: int,
    following: Callable[[], deque[tuple[int, bytes]]],
    layout: Layout,
    columns: Sequence[str],
    wanted: Sequence[str],
    types: Mapping[str, pa.DataType],
    skips: Skips | None,
) -> _Piece:
    """A block row by row, and as much of the next as a quoted field spans.

    Raises:
        InputError: the first row that can't be read, where none may be left out.
    """
    lines = _numbered(start, block)
    while lines and lines[0][0] <= before:
        lines.popleft()

    def more() -> bool:
        added = following()
        lines.extend(added)
        return bool(added)

    rows: list[list[str]] = []
    numbers: list[int] = []
    for found in records(lines, more, layout, len(columns)):
        if isinstance(found, Fault):
            found.tell(path, skips)
        else:
            rows.append(found.fields)
            numbers.append(found.line)
    arrays = {}
    for at, name in enumerate(columns):
        if name in wanted:
            array = pa.array([row[at] for row in rows], pa.string())
            coded = pa.types.is_dictionary(types[name])
            arrays[name] = array.dictionary_encode() if coded else array
    return _Piece(pa.table({name: arrays[name] for name in wanted}), numbers)


def _of_one_type(tables: list[pa.Table], whole: Sequence[str]) -> list[pa.Table]:
    """Columns of whole numbers become text in every block, where they are in one."""
    if len({table.schema for table in tables}) == 1:
        return tables
    found = []
    for table in tables:
        for name in whole:
            at = table.schema.get_field_index(name)
            if at >= 0:
                table = table.set_column(at, name, table[name].cast(pa.string()))
        found.append(table)
    return found


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
