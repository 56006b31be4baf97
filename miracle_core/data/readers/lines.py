"""Rows of delimited text one by one: slow, but each with its line.

Used where Arrow's parser can't say which line is wrong, and for files that hold broken rows.
"""

from __future__ import annotations

import codecs
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from miracle_core.data.readers.opening import MARK, RawFile
from miracle_core.errors import InputError

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
# Stands for a byte that could not be decoded; no valid UTF-8 decodes to it.
LOST = "\udcff"


def _lost(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return LOST, error.end


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


def records(
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


def check_quotes(path: RawFile, layout: Layout) -> None:
    """Look closer at a file with an odd number of quotes: one left open would swallow rows."""
    if layout.quoted:
        with path.open() as file:
            odd = sum(chunk.count(b'"') for chunk in iter(lambda: file.read(1 << 20), b"")) % 2
        if odd:
            for _ in records(path, layout):
                pass


def split_block(block: bytes, start: int, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """The rows of whole lines, of which the first has a number; nothing is quoted in them."""
    for number, raw in enumerate(block.split(b"\n"), start):
        if row := raw.decode(layout.encoding, "miracle-lost").rstrip("\r"):
            yield number, row.split(layout.separator)


def diagnose(path: RawFile, layout: Layout, expected: int) -> None:
    """Name the first line that is not UTF-8 or has another number of fields."""
    for line, fields in records(path, layout):
        if len(fields) != expected:
            raise InputError(
                f"has {len(fields)} field{'s' * (len(fields) != 1)}, expected {expected}",
                where=f"{path}:{line}",
                remedy="fix the line: a separator is missing, too many, or not quoted",
            )
        if not layout.quoted and any("\r" in field for field in fields):
            raise InputError(
                "holds a carriage return in the middle of a line",
                where=f"{path}:{line}",
                remedy="remove it, or end lines with a line feed",
            )
