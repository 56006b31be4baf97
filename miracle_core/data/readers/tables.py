"""Rows as they were read from a file, each with its place in there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import polars as pl

from miracle_core.data.readers.opening import RawFile


@dataclass(frozen=True)
class Table:
    """Rows of one file.

    Attributes:
        path: the file.
        rows: one row a line that is not blank, in the file's order; delimited text is all String.
        first: the line of the first row, where each row stands on the line after the one before.
        lines: the line of each row, where they don't follow one another.
    """

    path: RawFile
    rows: pl.DataFrame
    first: int | None = None
    lines: pl.Series | None = None

    def place(self, row: int) -> str:
        """``file:line`` of a row (0-based); the number of the row in a file without lines."""
        if self.lines is not None:
            return f"{self.path}:{self.lines[row]}"
        if self.first is not None:
            return f"{self.path}:{self.first + row}"
        return f"{self.path}: row {row + 1}"


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
