"""Times as numbers that order a user's events: one parser for all readers.

A format belongs to a column, never to a value. The way of writing that reads the most values of a
column is the column's, and whatever is not written that way is a row that can't be used.
"""

from __future__ import annotations

import contextlib
import math
import re
from datetime import UTC, datetime, timedelta
from typing import cast

import polars as pl

from miracle_core.data.interactions import Place
from miracle_core.data.readers.dates import WAYS, digits
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError

# Up to where a number counts which unit since 1970; 10^8 seconds are in 1973, and what is below is
# taken for a mere number, such as a place in a sequence.
_UNITS = (("", 1e8), ("s", 1e11), ("ms", 1e14), ("us", 1e17))
# What a number of a unit may be: from 1973 on, to 2286 (seconds: to 5138, they may be counters).
_SIZES = {"s": (1e8, 1e11), "ms": (1e11, 1e13), "us": (1e14, 1e16), "ns": (1e17, 1e19)}
_UNIT_NAMES = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "": "mere numbers",
}
_DIGIT_UNITS = (10**4, 10**8, 10**10)  # a year in yyyymmdd, with HHMM, with HHMMSS
_EXACT = 1 << 53  # whole numbers that float64 holds exactly


def parse_times(
    values: pl.Series,
    place: Place,
    skips: Skips | None = None,
    notes: list[str] | None = None,
) -> pl.Series:
    """Numbers from a column of times.

    Whole numbers stay whole; one broken number makes all of them float64. Dates and times become
    microseconds since 1970 in UTC: ISO 8601, dates in digits (``20240131120000``), day or month
    first (told by the whole column), or a date type.

    Args:
        values: String, a number or a date type, [n].
        place: where row i stands, for the message.
        skips: where rows may be left out: a time that is none becomes null (and is counted when
            the interactions are checked).
        notes: gets what was decided and may be wrong.

    Returns:
        Int64 or Float64 [n].

    Raises:
        InputError: a value that is not written as the column is, with its place; or a column that
            is written in two ways.
    """
    kind = values.dtype
    if kind in (pl.Date, pl.Datetime):
        return utc(values).cast(pl.Int64)
    if kind.is_temporal():
        raise InputError(
            f"the column {values.name!r} holds {kind}, which is no moment in time",
            where=place(0),
            remedy="name a column with dates, or with dates and times",
        )
    if kind.is_integer() or kind.is_float():
        times, like = _numbers(values, place, notes)
        broken = times.is_null() & values.is_not_null()  # a missing one is told of later
    else:
        times, like = _written(values.cast(pl.String).str.strip_chars(), place, notes)
        broken = times.is_null()
    if broken.any() and not (skips is not None and skips.allowed):
        row = int(broken.arg_max() or 0)
        value = values.slice(row, 1).cast(pl.String)[0] or ""
        others = f" as the others are: {like}" if like else ": neither a number nor a date"
        raise InputError(
            f"{value!r} is not a time{others}",
            where=place(row),
            remedy="write it like the others, or leave such rows out with --on-error skip"
            if like
            else "write times as 2024-01-31 or 2024-01-31 12:00:00, or leave the time out to keep "
            "the order of the file",
        )
    return times


def utc(values: pl.Series) -> pl.Series:
    """Dates or times of a date type as Datetime in microseconds, in UTC, without a zone."""
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return values.cast(pl.Datetime("us"))


def times_as_text(values: pl.Series) -> pl.Series:
    """A column of times as text, to stand beside text of another file.

    Args:
        values: any type, [n].

    Returns:
        String [n]: dates and times in ISO 8601 and UTC, whole numbers without a point.
    """
    if values.dtype in (pl.Date, pl.Datetime):
        return utc(values).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return values.cast(pl.String)


def _written(text: pl.Series, place: Place, notes: list[str] | None) -> tuple[pl.Series, str]:
    """Times from text, and what they are like; null where one is not of the column's kind."""
    numbers = text.cast(pl.Int64, strict=False)
    if numbers.null_count():
        floats = text.cast(pl.Float64, strict=False)
        if floats.null_count() < numbers.null_count():
            numbers = floats
    if not numbers.null_count():
        return _numbers(numbers, place, notes)
    best, like, note, clash = numbers, "", "", None
    for way in WAYS:
        if best.null_count() == 0:
            break
        reading = way(text)
        if reading.times.null_count() < best.null_count():
            best, like, note, clash = reading.times, reading.like, reading.note, reading.clash
    if not like:
        return _numbers(best, place, notes)
    if clash:  # no row can be skipped for it: the others may mean either
        day, month = clash
        raise InputError(
            f"{text[day]!r} has the day first, and {text[month]!r} ({place(month)}) the month: "
            "what the other dates mean can't be told",
            where=place(day),
            remedy="write all dates in one way, best as 2024-01-31",
        )
    _tell(note, notes)
    return best, like


def _numbers(values: pl.Series, place: Place, notes: list[str] | None) -> tuple[pl.Series, str]:
    """Times that are numbers: dates in digits, or counts of one unit; and what they are like."""
    present = values.drop_nulls()
    if not len(present):
        return values, ""
    if _like_digits(present):
        reading = digits(values.cast(pl.Int64, strict=False).cast(pl.String))
        # By chance one number of so many digits in thirty is a date.
        if 2 * (len(values) - reading.times.null_count()) > len(present):
            _tell(reading.note, notes)
            return reading.times, reading.like
    return _of_one_unit(values, place)


def _like_digits(present: pl.Series) -> bool:
    """Whether most numbers have the size of a date in digits, and all are whole."""
    # The bounds below don't fit the small types of a Parquet file.
    present = present.cast(pl.Float64 if present.dtype.is_float() else pl.Int64, strict=False)
    present = present.drop_nulls()
    if present.dtype.is_float():
        if not bool((present.is_finite() & (present.abs() < _EXACT)).all()):
            return False
        if not bool((present == present.floor()).all()):
            return False
    sized = sum(
        int(((present >= 1900 * unit) & (present < 2100 * unit)).sum()) for unit in _DIGIT_UNITS
    )
    return 2 * sized > len(present)


def _of_one_unit(values: pl.Series, place: Place) -> tuple[pl.Series, str]:
    """Counts of one unit since 1970: null for a number that can only be of another one.

    Raises:
        InputError: no unit has more than half of them.
    """
    sizes = values.abs().cast(pl.Float64)
    large = sizes.filter((sizes >= _UNITS[0][1]).fill_null(False) & sizes.is_finite())
    if not len(large):
        return values, "numbers"
    least, most = cast(float, large.min()), cast(float, large.max())
    if any(low <= least and most < high for low, high in _SIZES.values()):
        return values, "numbers"
    within = {
        unit: ((sizes >= least) & (sizes < end)).fill_null(False)
        for unit, (least, end) in _SIZES.items()
    }
    unit, second = sorted(within, key=lambda unit: -int(within[unit].sum()))[:2]
    if 2 * int(within[unit].sum()) > len(values) - values.null_count():
        foreign = (sizes >= _UNITS[0][1]) & ~within[unit] & sizes.is_finite()
        return values.set(foreign.fill_null(False), None), _UNIT_NAMES[unit]
    row, other = (int(within[name].arg_max() or 0) for name in (unit, second))
    raise InputError(
        f"some times have the size of {_UNIT_NAMES[unit]} ({values[row]} here), others of "
        f"{_UNIT_NAMES[second]} ({values[other]}, {place(other)})",
        where=place(row),
        remedy="write all times in one unit",
    )


def _tell(note: str, notes: list[str] | None) -> None:
    if note and notes is not None and note not in notes:
        notes.append(note)


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
    are 1973. Numbers below 10^8 are no times since 1970: their unit is empty.
    """
    return _unit(cast(float, times.abs().max() or 0))


def _unit(size: float) -> str:
    return next((unit for unit, end in _UNITS if abs(float(size)) < end), "ns")


def check_moment(text: str) -> None:
    """Refuse what is no moment in any unit.

    Raises:
        InputError: neither a date nor a number.
    """
    if _number(text) is None:
        _instant(text)


def parse_moment(text: str, unit: str) -> int | float:
    """A moment as a number in a unit of time since 1970.

    Args:
        text: a date or a date and time in ISO 8601 or in digits (``20240131``), in UTC, or a number
            in the unit.
        unit: ``s``, ``ms``, ``us`` or ``ns``; empty for numbers that are no times since 1970.

    Raises:
        InputError: neither, or one that can't be compared with such numbers.
    """
    number = _number(text)
    if number is not None and (not unit or not _date_in_digits(text)):
        if _unit(number) != unit:
            raise InputError(
                f"{text} can't be compared with the times of the data: they are "
                f"{_UNIT_NAMES[unit]}, and it is not",
                remedy="write a date like 2024-01-31, or the number as it stands in the data"
                if unit
                else "write a number as it stands in the data",
            )
        return number
    if not unit:
        _instant(text)
        raise InputError(
            f"the date {text} can't be compared with the times of the data, which are mere numbers "
            "(or the order of the file)",
            remedy="write a number as it stands in the data, or name the column of times",
        )
    micro = _instant(text)
    return micro * 1000 if unit == "ns" else micro // {"s": 10**6, "ms": 10**3, "us": 1}[unit]


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            number = kind(text)
            return number if math.isfinite(number) else None
    return None


def _date_in_digits(text: str) -> bool:
    text = text.strip()
    return re.fullmatch(r"\d+", text) is not None and digits(pl.Series([text])).times[0] is not None


def _instant(text: str) -> int:
    """Microseconds since 1970 of a date, or a date and time.

    Raises:
        InputError: it is none.
    """
    if _date_in_digits(text):
        return cast(int, digits(pl.Series([text.strip()])).times[0])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{text!r} is neither a date like 2024-01-31 nor a number",
            remedy="write a date, or the number as it stands in the data",
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
