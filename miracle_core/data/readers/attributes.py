"""Columns of raw files with attributes of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from miracle_core.data.readers.clean import clean_text

# What stands between several values in one field, where a source says that there are several.
SEVERAL = r"[|;]|, "
# And between those of a list, once it is text; cleaning makes a space of it.
BETWEEN = "\x1f"
_COLUMNS = ("item_id", "attribute", "value")


def attribute_rows(
    item_ids: pl.Series, columns: Mapping[str, pl.Series], several: Sequence[str] = ()
) -> pl.DataFrame:
    """Rows of item_id, attribute, value from columns of an item table.

    Values are cleaned as texts are. Blank values are dropped, and repeated ones count once.

    Args:
        item_ids: one an item.
        columns: each attribute's raw column, by the attribute's name; the values of a list stand
            between :data:`BETWEEN`.
        several: attributes whose fields hold several values, between ``|``, ``;`` or a comma and a
            space.
    """
    parts = []
    for name, column in columns.items():
        value = column.cast(pl.String).fill_null("").str.split(BETWEEN)
        rows = pl.DataFrame({"item_id": item_ids.cast(pl.String), "value": value}).explode("value")
        # Clean before they are split: an entity ends in one of the separators.
        rows = rows.with_columns(clean_text(rows["value"]))
        if name in several:
            split = pl.col("value").str.replace_all(SEVERAL, BETWEEN).str.split(BETWEEN)
            rows = rows.with_columns(split).explode("value")
        trimmed = pl.col("value").str.strip_chars()
        rows = rows.with_columns(trimmed, pl.lit(name).alias("attribute"))
        parts.append(rows.filter(pl.col("value") != ""))
    if not parts:
        return pl.DataFrame(
            schema={"item_id": pl.String, "attribute": pl.String, "value": pl.String}
        )
    found = pl.concat(parts).select("item_id", "attribute", "value")
    return found.unique(maintain_order=True)
