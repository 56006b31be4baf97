"""Clusters of users that are not independent, such as several invoices of one customer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.errors import InputError


def read_clusters(path: Path, user_ids: pl.Series) -> npt.NDArray[np.int64]:
    """The cluster of each user, as a number from 0 without gaps.

    Args:
        path: a CSV or Parquet file with the columns ``user_id`` and ``cluster``, a row a user.
        user_ids: the users, in order; the file may have others.

    Returns:
        int64 [users].

    Raises:
        InputError: no such file or columns, a user in several clusters or in none, or one cluster
            for all.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table = pl.read_parquet(path)
        else:
            table = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"can't be read: {error}", where=f"--clusters {path}") from error
    where = f"--clusters {path}"
    if missing := {"user_id", "cluster"} - set(table.columns):
        raise InputError(
            f"has no column {' and no column '.join(sorted(missing))}",
            where=where,
            remedy="give the columns user_id and cluster",
        )
    pairs = table.select(pl.col("user_id", "cluster").cast(pl.String)).unique()
    twice = pairs.filter(pl.col("user_id").is_duplicated())
    if twice.height:
        user = twice.sort("user_id")["user_id"][0]
        raise InputError(f"user {user!r} is in several clusters", where=where)
    found = pl.DataFrame({"user_id": user_ids}).join(
        pairs, on="user_id", how="left", maintain_order="left"
    )
    absent = found.filter(pl.col("cluster").is_null())
    if absent.height:
        raise InputError(
            f"{absent.height:,} users have no cluster, {absent['user_id'][0]!r} first",
            where=where,
            remedy="give users that stand alone a cluster of their own",
        )
    numbers = found["cluster"].rank("dense").to_numpy().astype(np.int64) - 1
    if not numbers.any():
        raise InputError("all users are in one cluster", where=where)
    return numbers
