"""Times as numbers that order a user's events."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from miracle_core.data.interactions import Place
from miracle_core.errors import InputError

_ISO = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")


def parse_times(values: pl.Series, place: Place) -> pl.Series:
    """Numbers from a column of times.

    Whole numbers stay whole; one broken number makes all of them float64. Dates and times in ISO
    8601, or of a date type, become microseconds.

    Args:
        values: String, a number or a date type, [n].
        place: where row i stands, for the message.

    Returns:
        Int64 or Float64 [n].

    Raises:
        InputError: a value that is none of these, with its place.
    """
    if values.dtype.is_integer() or values.dtype.is_float():
        return values
    if values.dtype.is_temporal():
        return values.cast(pl.Datetime("us")).cast(pl.Int64)
    text = values.cast(pl.String).str.strip_chars()
    best = text.cast(pl.Int64, strict=False)
    for candidate in _readings(text):
        if candidate.null_count() == 0:
            return candidate
        if candidate.null_count() < best.null_count():
            best = candidate
    row = int(best.is_null().arg_max() or 0)
    raise InputError(
        f"{values[row]!r} is no time: neither a number nor a date like 2024-01-31",
        where=place(row),
        remedy="mend the value, or leave the time out to keep the order of the file",
    )


def _readings(text: pl.Series) -> Iterator[pl.Series]:
    yield text.cast(pl.Int64, strict=False)
    yield text.cast(pl.Float64, strict=False)
    for form in _ISO:
        yield text.str.to_datetime(form, time_unit="us", strict=False).cast(pl.Int64)
