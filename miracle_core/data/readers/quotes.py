"""Quotes in delimited text, read strictly (RFC 4180): what is quoted, and what a quote swallowed.

A field that begins with a double quote must end with one, followed by a separator or the line's
end; a quote inside is written twice. In a field that doesn't begin with a quote, quotes are
ordinary characters. A quoted field may span lines, but no line of it may have as many fields as a
row: then the line counts as a row, and the quote as one that was left open. If rows may be left out
and at most half of the field's lines could be rows, the field may be a text after all. Then all of
its lines are left out, so that no row is made of prose.

The last line of a row's first field always has as many fields as a row. It counts as a row of its
own only if the field's first line does, too.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import polars as pl

_MOST_LINES = 1000  # of one field
_REMEDY = 'close the quote at the end of its field, and write a quote inside a field as ""'
_SWALLOWED = (
    f"{_REMEDY}; of a text that spans lines, remove the line breaks: no line of it may have as "
    "many fields as a row"
)


@dataclass(frozen=True)
class End:
    """Where a row ends.

    Attributes:
        lines: how many lines it takes.
        fields: what it holds, where it is sound.
        fault: what is wrong, as it is shown beside a count of such rows; empty for a sound row.
        what: the same as an error.
        remedy: how to fix it.
    """

    lines: int
    fields: list[str] = field(default_factory=list)
    fault: str = ""
    what: str = ""
    remedy: str = _REMEDY


class Quoting:
    """The grammar of one separator.

    Args:
        separator: one character.
    """

    def __init__(self, separator: str) -> None:
        self._separator = separator
        mark = re.escape(separator)
        # Possessive (*+, ++): no backtracking, so a line of any length takes one pass.
        inside = r'(?:[^"]++|"")*+'
        one = rf'(?:"{inside}"|(?!")[^{mark}\r\n]*+)'
        rest = rf"(?:{mark}{one})*+"
        self._whole = re.compile(rf"{one}{rest}\r*+")
        self._opening = re.compile(rf'((?:{one}{mark})*+)"{inside}')
        self._inside = re.compile(inside)
        self._closing = re.compile(rf'{inside}"{rest}\r*+')
        self._reopening = re.compile(rf'{inside}"{rest}{mark}"{inside}')
        # The same as _whole, for polars, whose expressions never backtrack.
        one = rf'(?:"(?:[^"]|"")*"|[^"{mark}\r][^{mark}\r]*|)'
        self._whole_line = rf"^{one}(?:{mark}{one})*\r*$"

    def sound(self, text: str) -> bool:
        """Whether every line of a text is a whole row, as far as quotes go; vectorised.

        Then no field spans lines, and a reader that splits at every line end reads what a strict
        one reads.
        """
        lines = pl.Series([text], dtype=pl.String).str.split("\n").explode()
        quoted = lines.filter(lines.str.contains('"', literal=True))
        return bool(quoted.str.contains(self._whole_line).all())

    def end(
        self,
        lines: deque[tuple[int, bytes]],
        more: Callable[[], bool],
        encoding: str,
        expected: int | None,
    ) -> End:
        """Where the row ends that begins with the first of some lines.

        Args:
            lines: numbers and lines without line feeds; none is taken away.
            more: adds lines to the end, or says that there are none.
            encoding: of the lines.
            expected: how many fields a row has, where that is known.

        Raises:
            UnicodeDecodeError: the first line can't be decoded.
        """
        number, raw = lines[0]
        text = raw.decode(encoding)
        if self._whole.fullmatch(text):
            return End(1, self._split(text.rstrip("\r")))
        opening = self._opening.fullmatch(text)
        if opening is None:
            return _broken_inside(text)
        first = not opening[1]
        leading = self._is_row(text, expected)
        taken = [text]
        rows: list[int] = []  # which of the lines after the first are rows by themselves

        def unclosed(how: str) -> End:
            if rows:
                how = f"would swallow line {lines[rows[0]][0]}, which has as many fields as a row"
            return _unclosed(number, how, _SWALLOWED if rows else _REMEDY)

        for at in range(1, _MOST_LINES):
            if at == len(lines) and not more():
                return unclosed("is never closed")
            here, raw = lines[at]
            try:
                text = raw.decode(encoding)
            except UnicodeDecodeError:
                return unclosed(f"is not closed before line {here}, which is not UTF-8")
            taken.append(text)
            still = self._inside.fullmatch(text) is not None
            if self._is_row(text, expected) and (still or not first or leading):
                rows.append(at)
            if still:
                continue
            first = False
            if self._closing.fullmatch(text):
                fields = self._split("\n".join(taken).rstrip("\r"))
                if expected is not None and len(fields) != expected:
                    return unclosed(f"would make {len(fields)} fields of the lines to {here}")
                if not rows:
                    return End(len(taken), fields)
                written = sum(bool(line.rstrip("\r")) for line in taken[1:])
                stray = 2 * len(rows) > written and all(
                    self._alike(taken[0], taken[row]) for row in rows
                )
                return unclosed("") if stray else replace(unclosed(""), lines=len(taken))
            if not self._reopening.fullmatch(text):
                return unclosed(f"is closed in the middle of a field, on line {here}")
        return unclosed(f"is not closed within {_MOST_LINES:,} lines")

    def _split(self, text: str) -> list[str]:
        csv.field_size_limit(sys.maxsize)
        return next(csv.reader([text], delimiter=self._separator, strict=True))

    def _is_row(self, line: str, expected: int | None) -> bool:
        """Whether a line by itself, its quotes ordinary or not, has as many fields as a row."""
        if line.count(self._separator) + 1 == expected:
            return True
        return (
            '"' in line
            and self._whole.fullmatch(line) is not None
            and len(self._split(line.rstrip("\r"))) == expected
        )

    def _alike(self, first: str, line: str) -> bool:
        """Whether two lines may be rows of one file.

        Prose has a space after each separator. A row has one only if other rows of its file do.
        """
        spaced = [
            all(part.startswith((" ", '"')) for part in text.split(self._separator)[1:])
            for text in (first, line)
        ]
        return spaced[0] or not spaced[1]


@cache
def quoting(separator: str) -> Quoting:
    """The grammar of a separator."""
    return Quoting(separator)


def _unclosed(number: int, how: str, remedy: str) -> End:
    return End(
        1,
        fault="a quote that is not closed",
        what=f"can't be read: a quote that opens on line {number} {how}",
        remedy=remedy,
    )


def _broken_inside(text: str) -> End:
    if "\r" in text.rstrip("\r"):
        return End(
            1,
            fault="a carriage return in the middle of a line",
            what="holds a carriage return in the middle of a line",
            remedy="remove it, or end lines with a line feed",
        )
    return End(
        1,
        fault="a quote in the middle of a quoted field",
        what="can't be read: a field that begins with a quote goes on after its closing quote",
    )
