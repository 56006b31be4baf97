"""Answers about many histories: lists, and vectors with ids. No torch is needed to hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from miracle_core.recommender.labels import shortened
from miracle_core.recommender.notebook import html_table
from miracle_core.recommender.results import Floats, Integers

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RankedLists:
    """Lists as arrays, best first.

    Attributes:
        items: int64 [histories, K], catalogue items; -1 where there is none left.
        scores: float32 [histories, K]; -inf where there is none left.
        interests: int64 [histories, K], the number of the interest that won the item; -1 for none.
    """

    items: Integers
    scores: Floats
    interests: Integers


@dataclass(frozen=True)
class Recommendations:
    """Lists of many users, best first.

    Attributes:
        user_ids: whose they are, in order; of histories without a user, their places from 0.
        lists: what was found.
        item_ids: of the catalogue.
        titles: of the catalogue.
        labels: each capsule's words; None in a system without capsules.
        several: whether users may have several interests.
    """

    user_ids: tuple[str, ...]
    lists: RankedLists
    item_ids: Sequence[str]
    titles: Sequence[str]
    labels: Mapping[int, str] | None
    several: bool

    def __len__(self) -> int:
        return len(self.user_ids)

    def __repr__(self) -> str:
        k = self.lists.items.shape[1]
        return f"<Recommendations: {len(self):,} lists of up to {k:,} items; see .frame()>"

    def table(self) -> pl.DataFrame:
        """A row an item, users in order and best items first.

        Columns: ``user_id``, ``rank`` (from 1), ``item_id``, ``title``, ``score``, ``interest``
        and ``label``. ``interest`` is the number of the capsule or other interest that won the
        item; it is missing in a system with one interest a user. ``label`` is the capsule's words,
        or for other interests the title of the first item that the interest won. A user without
        candidates has no row.
        """
        found = self.lists
        rows, places = np.nonzero(found.items >= 0)
        items = found.items[rows, places]
        table = pl.DataFrame(
            {
                "row": rows,
                "user_id": pl.Series(self.user_ids, dtype=pl.String).gather(rows),
                "rank": places.astype(np.int32) + 1,
                "item_id": pl.Series(self.item_ids, dtype=pl.String).gather(items),
                "title": pl.Series(self.titles, dtype=pl.String).gather(items),
                "score": found.scores[rows, places].astype(np.float32),
                "interest": found.interests[rows, places].astype(np.int32),
            }
        )
        if self.labels is not None:
            words = np.array([self.labels[n] for n in range(len(self.labels))], dtype=object)
            label = pl.Series("label", words[table["interest"].to_numpy()], dtype=pl.String)
            return table.with_columns(label).drop("row")
        if self.several:
            first = pl.col("title").first().over("row", "interest")
            short = first.map_elements(shortened, return_dtype=pl.String)
            return table.with_columns(short.alias("label")).drop("row")
        return table.with_columns(
            pl.lit(None, pl.Int32).alias("interest"), pl.lit(None, pl.String).alias("label")
        ).drop("row")

    def frame(self) -> pd.DataFrame:
        """:meth:`table` as a pandas DataFrame; ``interest`` is a nullable integer."""
        import pandas as pd

        table = self.table()
        frame = table.drop("interest").to_pandas()
        frame.insert(5, "interest", pd.array(table["interest"].to_list(), dtype="Int64"))
        return frame

    def _repr_html_(self) -> str:
        return html_table(self.table())


@dataclass(frozen=True)
class UserInterests:
    """Interest vectors as arrays.

    Attributes:
        vectors: float32 [interests, d], as items are multiplied with them.
        interests: int64 [interests], the number of each; in MIRACLE the capsule.
        histories: int64 [interests], the history of each, rising.
        strengths: float32 [interests], how strong each is; in MIRACLE ||u||, below 1 (eq. 13).
    """

    vectors: Floats
    interests: Integers
    histories: Integers
    strengths: Floats


@dataclass(frozen=True)
class Vectors:
    """Vectors with ids; the inner product of a user's and an item's is the score (eq. 17).

    Attributes:
        ids: the id of each row's user or item. A user with several interests has several rows.
        vectors: float32 [rows, d].
        interests: int64 [rows], the number of the interest; None for items.
        strengths: float32 [rows], how strong each interest is: its length before its vector became
            a direction; None for items.
    """

    ids: tuple[str, ...]
    vectors: Floats
    interests: Integers | None = None
    strengths: Floats | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        rows, d = self.vectors.shape
        return f"<Vectors: {rows:,} of {d:,} numbers; see .frame()>"

    def frame(self) -> pd.DataFrame:
        """A row a vector: the index is the id (and ``interest``), the columns are its numbers."""
        import pandas as pd

        index: pd.Index = pd.Index(self.ids, name="id")
        if self.interests is not None:
            index = pd.MultiIndex.from_arrays([self.ids, self.interests], names=["id", "interest"])
        return pd.DataFrame(self.vectors, index=index)
