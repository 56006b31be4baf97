"""Rows of delimited text one by one: slow, but each with its line, and each fault named.

Used where Arrow's parser can't say which line is wrong, and wherever a quoted field may span lines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from miracle_core.data.readers.quotes import quoting
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError

_UTF8_REMEDY = "save it as UTF-8, e.g. iconv -f latin1 -t utf-8 OLD > NEW"


@dataclass(frozen=True)
class Layout:
    """How a file's rows are written.

    Attributes:
        separator: what stands between fields; several characters only where nothing is quoted.
        quoted: a field that begins with a double quote ends with one, and may hold separators and
            line ends; a quote in it is written twice. Otherwise a quote is an ordinary character.
        encoding: how text is written as bytes.
        skip: lines before the header, such as ``sep=;``.
    """

    separator: str
    quoted: bool
    encoding: str = "utf-8"
    skip: int = 0


TAB = Layout("\t", quoted=False)


@dataclass(frozen=True)
class Row:
    """A sound row: the line it begins on, counted from 1, and its fields."""

    line: int
    fields: list[str]


@dataclass(frozen=True)
class Fault:
    """A line that can't be used, or several that may be one text.

    Attributes:
        line: the number of the first, counted from 1.
        reason: what is wrong, as it is shown beside a count of such rows.
        what: the same as an error, of this line.
        remedy: how to fix it.
        column: the place in the line, counted from 1, where it is known.
        lines: how many that are not blank.
    """

    line: int
    reason: str
    what: str
    remedy: str
    column: int | None = None
    lines: int = 1

    def tell(self, path: object, skips: Skips | None) -> None:
        """Count the lines as left out.

        Raises:
            InputError: where lines may not be left out.
        """
        place = f"{path}:{self.line}"
        if skips is not None and skips.allowed:
            skips.add(self.reason, self.lines, place)
            return
        where = place if self.column is None else f"{place}:{self.column}"
        raise InputError(self.what, where=where, remedy=self.remedy)


def records(
    lines: deque[tuple[int, bytes]],
    more: Callable[[], bool],
    layout: Layout,
    expected: int | None = None,
) -> Iterator[Row | Fault]:
    """Each row that is not blank, in order.

    A line with a fault is left out alone, and the next line is taken as the beginning of a row:
    whatever a stray quote might have swallowed is read. Lines that may be one quoted text instead
    (:mod:`miracle_core.data.readers.quotes`) are left out together.

    Args:
        lines: numbers and lines without their line feeds; taken away one by one.
        more: asked for more lines where the last one ends inside a quoted field; adds some to
            ``lines`` and says so, or says that there are none.
        layout: how the lines are written.
        expected: how many fields a row has; None takes the number of the first sound row.
    """
    rules = quoting(layout.separator) if layout.quoted else None
    while lines:
        number, raw = lines[0]
        if not raw.rstrip(b"\r"):
            lines.popleft()
            continue
        found: Row | Fault
        taken = 1
        try:
            text = raw.decode(layout.encoding)
            if "\0" in text:
                found = Fault(
                    number,
                    "a NUL byte",
                    "holds a NUL byte, which no text has",
                    "get the file again, or remove the byte",
                    column=text.index("\0") + 1,
                )
            elif rules is None or '"' not in text:
                found = _plain(number, text.rstrip("\r"), layout)
            else:
                end = rules.end(lines, more, layout.encoding, expected)
                taken = end.lines
                if end.fault:
                    written = sum(bool(line.rstrip(b"\r")) for _, line in islice(lines, taken))
                    found = Fault(number, end.fault, end.what, end.remedy, lines=written)
                else:
                    found = Row(number, end.fields)
        except UnicodeDecodeError as error:
            found = _undecodable(number, raw, error)
        for _ in range(taken):
            lines.popleft()
        if isinstance(found, Row):
            expected = len(found.fields) if expected is None else expected
            if len(found.fields) != expected:
                found = _miscounted(found, expected)
        yield found


def _plain(number: int, text: str, layout: Layout) -> Row | Fault:
    if "\r" in text:
        return Fault(
            number,
            "a carriage return in the middle of a line",
            "holds a carriage return in the middle of a line",
            "remove it, or end lines with a line feed",
        )
    return Row(number, text.split(layout.separator))


def _undecodable(number: int, raw: bytes, error: UnicodeDecodeError) -> Fault:
    return Fault(
        number,
        "bytes that are not UTF-8",
        f"is not UTF-8: byte 0x{raw[error.start]:02x} can't stand here",
        _UTF8_REMEDY,
        column=len(raw[: error.start].decode()) + 1,
    )


def _miscounted(row: Row, expected: int) -> Fault:
    count = len(row.fields)
    return Fault(
        row.line,
        "another number of fields than the header",
        f"has {count} field{'s' * (count != 1)}, expected {expected}",
        "fix the line: a separator is missing, too many, or not quoted",
    )
