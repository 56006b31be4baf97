"""Each user's best items, as a table on disk: for measuring, not for use.

As in an evaluation, each user's history stops before the held-out item. For what to offer a user
next, use ``miracle recommend --user`` or the Recommender: they read the whole history.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import Evaluation
from miracle_core.files import replacing
from miracle_core.paths import as_path

FORMATS = (".parquet", ".csv")
# Users a row group, so that memory does not grow with the number of users.
_USERS = 8192


def check_top_k(path: str | Path) -> None:
    """Refuse a file that the best items can't be written to.

    Raises:
        InputError: its ending is no known format, or it is a folder.
    """
    path = as_path(path)
    if path.is_dir():
        raise InputError("is a folder", where=str(path), remedy="name a file")
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            "its name does not say in which format to write the best items",
            where=str(path),
            remedy=f"end it in {' or '.join(FORMATS)}",
        )


def write_top_k(
    path: str | Path, found: Evaluation, dataset: Dataset, k: int | None = None
) -> None:
    """Write the best items of every evaluated user, as the file's name says: Parquet or CSV.

    Columns: user_id, rank (from 1), item_id, score, target_item_id (the user's held-out item).
    Users in index order, best items first. A user with fewer candidates than K has fewer rows; one
    without any (all items are left out) has one, without rank, item and score, so that each user
    counts in a mean over the file.

    Args:
        path: where to; a file there is replaced, once the new one is whole.
        found: an evaluation that kept its top items.
        dataset: what it evaluated.
        k: how many of each user's items; None for all that were kept.

    Raises:
        InputError: what :func:`check_top_k` raises.
        ValueError: the evaluation kept no top items.
    """
    check_top_k(path)
    path = as_path(path)
    tables = _tables(found, dataset, k)
    with replacing(path) as beside:
        if path.suffix.lower() == ".csv":
            with beside.open("wb") as out:
                for number, table in enumerate(tables):
                    table.write_csv(out, include_header=number == 0)
        else:
            _write_parquet(beside, tables)


def _tables(found: Evaluation, dataset: Dataset, k: int | None) -> Iterator[pl.DataFrame]:
    """The rows, ``_USERS`` users at a time."""
    if found.top_items is None or found.top_scores is None:
        raise ValueError("this evaluation kept no top items")
    user_ids, item_ids = dataset.users["user_id"], dataset.items["item_id"]
    k = found.top_items.shape[1] if k is None else min(k, found.top_items.shape[1])
    for start in range(0, len(found.users), _USERS):
        part = slice(start, start + _USERS)
        users = np.repeat(found.users[part], k)
        scores = found.top_scores[part, :k].ravel()
        ranks = np.tile(np.arange(1, k + 1, dtype=np.int32), len(users) // k)
        candidate = pl.Series(np.isfinite(scores))
        table = pl.DataFrame(
            {
                "user_id": user_ids.gather(users),
                "rank": ranks,
                "item_id": item_ids.gather(found.top_items[part, :k].ravel()),
                "score": scores,
                "target_item_id": item_ids.gather(np.repeat(found.targets[part], k)),
            }
        )
        known = [pl.when(candidate).then(pl.col(c)).alias(c) for c in ("rank", "item_id", "score")]
        # Best first: where the first place holds nothing, the user has no candidate at all.
        yield table.with_columns(known).filter(candidate | pl.Series(ranks == 1))


def _write_parquet(path: Path, tables: Iterator[pl.DataFrame]) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for table in tables:
            arrow = table.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                writer = pq.ParquetWriter(path, arrow.schema, compression="zstd")
            writer.write_table(arrow)
    finally:
        if writer is not None:
            writer.close()
