"""Rows as they were read from a file, each with its place in there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import polars as pl

from miracle_core.data.readers.lines import Layout, records
from miracle_core.data.readers.opening import RawFile


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
        for number, (line, _) in enumerate(records(self.path, self.layout)):
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
