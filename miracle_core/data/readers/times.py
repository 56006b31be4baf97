"""Times as numbers that order a user's events."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import cast

import polars as pl

from miracle_core.data.interactions import Place
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError

_UNITS = (("s", 1e11), ("ms", 1e14), ("us", 1e17))

_ISO = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")


def parse_times(values: pl.Series, place: Place, skips: Skips | None = None) -> pl.Series:
    """Numbers from a column of times.

    Whole numbers stay whole; one broken number makes all of them float64. Dates and times in ISO
    8601, or of a date type, become microseconds.

    Args:
        values: String, a number or a date type, [n].
        place: where row i stands, for the message.
        skips: where rows may be left out: a time that is none becomes null (and is counted when
            the interactions are checked).

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
    if skips is not None and skips.allowed:
        return best
    row = int(best.is_null().arg_max() or 0)
    raise InputError(
        f"{values[row]!r} is not a time: neither a number nor a date like 2024-01-31",
        where=place(row),
        remedy="fix the value, or leave the time out to keep the order of the file",
    )


def parse_numbers(
    values: pl.Series, name: str, place: Place, skips: Skips | None = None
) -> pl.Series:
    """Numbers from a column of text.

    Args:
        values: String [n].
        name: what they are, for the message and as the name of the result.
        place: where row i stands.
        skips: where rows may be left out: what is not a number becomes null.

    Returns:
        Float64 [n] named ``name``.

    Raises:
        InputError: a value that is not a finite number, with its place.
    """
    numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
    numbers = numbers.set(~numbers.is_finite().fill_null(False), None).alias(name)
    if numbers.null_count() and not (skips is not None and skips.allowed):
        row = int(numbers.is_null().arg_max() or 0)
        raise InputError(
            f"{values[row]!r} is not a number, and can't be a {name}",
            where=place(row),
            remedy="fix the value, or name the right column",
        )
    return numbers


def unit_of(times: pl.Series) -> str:
    """The unit of times since 1970, by their size: ``s``, ``ms``, ``us`` or ``ns``.

    A unit is told by the largest time: 10^11 seconds would be the year 5138, and 10^11 milliseconds
    are 1973.
    """
    largest = abs(float(cast(float, times.max() or 0)))
    return next((unit for unit, end in _UNITS if largest < end), "ns")


def parse_moment(text: str, unit: str) -> int | float:
    """A moment as a number in a unit of time since 1970.

    Args:
        text: a date or a date and time in ISO 8601, in UTC, or a number in the unit.
        unit: ``s``, ``ms``, ``us`` or ``ns``.

    Raises:
        InputError: neither.
    """
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{text!r} is neither a date like 2024-01-31 nor a number",
            remedy="write a date, or the number as it stands in the data",
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    micro = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return micro * 1000 if unit == "ns" else micro // {"s": 10**6, "ms": 10**3, "us": 1}[unit]


def _readings(text: pl.Series) -> Iterator[pl.Series]:
    yield text.cast(pl.Int64, strict=False)
    yield text.cast(pl.Float64, strict=False)
    for form in _ISO:
        yield text.str.to_datetime(form, time_unit="us", strict=False).cast(pl.Int64)
