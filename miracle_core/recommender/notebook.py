"""Tables as a notebook shows them."""

from __future__ import annotations

import html

import polars as pl

from miracle_core.recommender.labels import shortened

# Rows that a notebook shows of a table.
SHOWN = 60


def html_table(table: pl.DataFrame) -> str:
    """A table for a notebook; text from data is escaped, and long tables are cut."""
    rows = [
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>"
        for row in table.head(SHOWN).iter_rows()
    ]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    more = table.height - len(rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>" + (
        f"<p>{more:,} more rows: .frame() has them all</p>" if more > 0 else ""
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return html.escape(shortened(str(value)))
