"""Attributes of items, besides their text: a category, a brand, a store, genres.

Raw data has them in columns of their own. A Dataset keeps them in ``attributes.parquet``, a row for
each (item, attribute, value), in the order of the items and then of the source. A Dataset without
any has no such file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

SCHEMA = {"item": pl.Int32(), "attribute": pl.String(), "value": pl.String()}


@dataclass(frozen=True)
class Attributes:
    """The attributes of a catalogue as numbers.

    Attributes:
        names: each attribute's name, in the order of the alphabet.
        values: (attribute, value) by number.
        codes: int64 [rows], the values of item i are ``codes[offsets[i]:offsets[i + 1]]``.
        offsets: int64 [items + 1].
    """

    names: tuple[str, ...]
    values: tuple[tuple[str, str], ...]
    codes: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, table: pl.DataFrame, n_items: int) -> Attributes:
        """From the rows of ``attributes.parquet``."""
        pairs = table.select("attribute", "value").unique().sort("attribute", "value")
        numbered = pairs.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("code"))
        codes = table.join(numbered, on=["attribute", "value"], maintain_order="left")["code"]
        counts = np.bincount(table["item"].to_numpy(), minlength=n_items)
        return cls(
            tuple(pairs["attribute"].unique().sort()),
            tuple(pairs.iter_rows()),
            codes.to_numpy(),
            np.concatenate([[0], np.cumsum(counts)]),
        )


def in_catalogue(rows: pl.DataFrame, item_ids: pl.Series) -> pl.DataFrame:
    """The rows of a catalogue's items as a Dataset keeps them: item index, attribute, value.

    Args:
        rows: item_id, attribute, value of any items.
        item_ids: the catalogue, in index order.
    """
    index = pl.DataFrame({"item_id": item_ids}).with_row_index("item")
    found = rows.join(index, on="item_id", how="inner", maintain_order="left")
    return found.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()).sort(
        "item", "attribute", maintain_order=True
    )
