"""The arrays and tables of a Dataset folder, read with care and written the same way every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from miracle_core.errors import InputError


def check_features(
    array: npt.NDArray[np.floating[Any]], items: int, width: int, *, where: str
) -> None:
    """Refuse features of the wrong shape or with a number that is not finite.

    Raises:
        InputError: naming the file and the first bad row.
    """
    if array.shape != (items, width):
        raise InputError(
            f"has shape {list(array.shape)}, expected [{items}, {width}]",
            where=where,
            remedy="encode the items again",
        )
    for start in range(0, items, 65536):
        finite = np.isfinite(array[start : start + 65536]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise InputError(
                f"row {row} holds a number that is not finite (NaN or infinity)",
                where=where,
                remedy="encode the items again",
            )


def load_array(path: str | Path, dimensions: int, *dtypes: str) -> npt.NDArray[Any]:
    """An array, memory-mapped; never one of Python objects.

    Raises:
        InputError: it is missing, no array, or of other dimensions or types than those named.
    """
    try:
        array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from error
    except (ValueError, EOFError) as error:
        raise InputError(f"is not a plain NumPy array: {error}", where=str(path)) from error
    if array.ndim != dimensions or array.dtype not in map(np.dtype, dtypes):
        raise InputError(
            f"holds {array.dtype} with {array.ndim} dimensions, "
            f"expected {np.dtype(dtypes[0])} with {dimensions}",
            where=str(path),
        )
    return array


def write_parquet(path: str | Path, table: pl.DataFrame) -> None:
    """Write a table with fixed settings and no metadata of its own: equal tables, equal bytes."""
    arrow: pa.Table = table.to_arrow(compat_level=pl.CompatLevel.oldest())
    pq.write_table(arrow, path, compression="zstd", row_group_size=1 << 17)


def read_parquet(path: str | Path) -> pl.DataFrame:
    """Read a table.

    Raises:
        InputError: it is missing or no Parquet.
    """
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"can't be read as parquet: {error}", where=str(path)) from error
