"""Each user's best items, as a table on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from miracle_core.data.dataset import Dataset
from miracle_core.evaluation.evaluate import Evaluation
from miracle_core.files import replacing

# Users a row group, so that memory does not grow with the number of users.
_USERS = 8192


def write_top_k(path: Path, found: Evaluation, dataset: Dataset, k: int | None = None) -> None:
    """Write the best items of every evaluated user as parquet, whole or not at all.

    Columns: user_id, rank (from 1), item_id, score, target_item_id (the user's held-out item).
    Users in index order, best items first. A user with fewer candidates than K has fewer rows.

    Args:
        path: where to; a file there is replaced.
        found: an evaluation that kept its top items.
        dataset: what it evaluated.
        k: how many of each user's items; None for all that were kept.
    """
    if found.top_items is None or found.top_scores is None:
        raise ValueError("this evaluation kept no top items")
    user_ids, item_ids = dataset.users["user_id"], dataset.items["item_id"]
    k = found.top_items.shape[1] if k is None else min(k, found.top_items.shape[1])
    with replacing(path) as beside:
        writer: pq.ParquetWriter | None = None
        try:
            for start in range(0, len(found.users), _USERS):
                part = slice(start, start + _USERS)
                users = np.repeat(found.users[part], k)
                scores = found.top_scores[part, :k].ravel()
                table = pl.DataFrame(
                    {
                        "user_id": user_ids.gather(users),
                        "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), len(users) // k),
                        "item_id": item_ids.gather(found.top_items[part, :k].ravel()),
                        "score": scores,
                        "target_item_id": item_ids.gather(np.repeat(found.targets[part], k)),
                    }
                ).filter(pl.Series(np.isfinite(scores)))
                arrow = table.to_arrow(compat_level=pl.CompatLevel.oldest())
                if writer is None:
                    writer = pq.ParquetWriter(beside, arrow.schema, compression="zstd")
                writer.write_table(arrow)
        finally:
            if writer is not None:
                writer.close()
