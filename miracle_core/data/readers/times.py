"""Times as numbers that order a user's events: one parser for all readers.

A format belongs to a column, never to a value. The way of writing that reads the most values of a
column is the column's, and whatever is not written that way is a row that can't be used.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import polars as pl

from miracle_core.data.interactions import Place
from miracle_core.data.readers.dates import WAYS, digits, short_digits, shuffled_digits
from miracle_core.data.readers.exact import exactly_whole, lost_digits
from miracle_core.data.readers.units import LEAST, SIZES, UNIT_NAMES
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError

_DIGIT_UNITS = (10**4, 10**8, 10**10)  # a year in yyyymmdd, with HHMM, with HHMMSS
# What programs write where a date is missing, as microseconds since 1970.
_MISSING = {
    "0001-01-01": -62_135_596_800_000_000,
    "1900-01-01": -2_208_988_800_000_000,
    "1970-01-01": 0,
}
_SAMPLE = 1000  # numbers that are looked at first


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
            is written in two ways, or whose numbers are not exact.
    """
    kind = values.dtype
    if kind in (pl.Date, pl.Datetime):
        times = utc(values).cast(pl.Int64)
        _tell_missing(times, place, notes)
        return times
    if kind.is_temporal():
        raise InputError(
            f"the column {values.name!r} holds {kind}, which is no moment in time",
            where=place(0),
            remedy="name a column with dates, or with dates and times",
        )
    if kind.is_integer() or kind.is_float():
        _refuse_rounded(values, place)
        numbers = values if kind.is_float() else values.cast(pl.Int64, strict=False)
        times, like = _numbers(numbers, place, notes)
        broken = times.is_null() & values.is_not_null()  # missing ones are reported later
    else:
        times, like = _written(values.cast(pl.String).str.strip_chars(), place, notes)
        broken = times.is_null()
    if broken.any() and not (skips is not None and skips.allowed):
        row = int(broken.arg_max() or 0)
        value = values.slice(row, 1).cast(pl.String)[0]
        if value is None:
            raise InputError("has no time", where=place(row), remedy="fix or remove it")
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


def times_as_text(values: pl.Series, place: Place) -> pl.Series:
    """A column of times as text, to be joined with text of another file.

    Args:
        values: any type, [n].
        place: gives the place of row i.

    Returns:
        String [n]: dates and times in ISO 8601 and UTC, whole numbers without a point.

    Raises:
        InputError: numbers that their type of float doesn't hold exactly.
    """
    _refuse_rounded(values, place)
    if values.dtype in (pl.Date, pl.Datetime):
        return utc(values).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return values.cast(pl.String)


def _refuse_rounded(values: pl.Series, place: Place) -> None:
    """Refuse numbers that are too large for their type of float to hold them exactly.

    Raises:
        InputError: with the first.
    """
    if values.dtype == pl.Float32:
        rounded = values.is_finite() & (values.abs() >= exactly_whole(values.dtype))
        if rounded.any():
            row = int(rounded.arg_max() or 0)
            apart = float(np.spacing(np.float32(values[row])))
            raise InputError(
                f"the column {values.name!r} holds times as Float32, in which times like "
                f"{values[row]:.0f} are rounded to multiples of {apart:.0f}",
                where=place(row),
                remedy="store times as whole numbers (Int64) or as dates",
            )


def _written(text: pl.Series, place: Place, notes: list[str] | None) -> tuple[pl.Series, str]:
    """Times from text, and what they are like; null where one is not of the column's kind."""
    numbers = text.cast(pl.Int64, strict=False)
    if numbers.null_count():
        floats = text.cast(pl.Float64, strict=False)
        if floats.null_count() < numbers.null_count():
            numbers = floats
            row = lost_digits(text)
            if row is not None:
                raise InputError(
                    f"{text[row]!r} has lost its last digits, as spreadsheets write long numbers",
                    where=place(row),
                    remedy="write the file again, with all digits of the times",
                )
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
    _tell_missing(best, place, notes)
    return best, like


def _numbers(values: pl.Series, place: Place, notes: list[str] | None) -> tuple[pl.Series, str]:
    """Times that are numbers: dates in digits, or counts of one unit; and what they are like.

    Raises:
        InputError: dates in digits that can't be put in order, or as :func:`_of_one_unit`.
    """
    present = values.drop_nulls()
    if not len(present):
        return values, ""
    if _like_digits(present):
        reading = digits(values.cast(pl.Int64, strict=False).cast(pl.String))
        # By chance one number of so many digits in thirty is a date.
        if 2 * (len(values) - reading.times.null_count()) > len(present):
            _tell(reading.note, notes)
            return reading.times, reading.like
    _refuse_shuffled(values, place)
    times, like = _of_one_unit(values, place, notes)
    sample = _sampled(present)
    if short_digits(sample).all() and sample.n_unique() > 2:
        _tell(
            f"times such as {sample[0]} are read as mere numbers: write them as 2024-01-31 if they "
            "are dates",
            notes,
        )
    return times, like


def _sampled(present: pl.Series) -> pl.Series:
    """About a thousand of the numbers, as Int64; null for what is not whole."""
    some = present.gather_every(len(present) // _SAMPLE + 1)
    whole = some.cast(pl.Int64, strict=False)
    return whole.set((whole != some).fill_null(True), None)


def _refuse_shuffled(values: pl.Series, place: Place) -> None:
    """Refuse dates in digits whose numbers are not in the order of the dates.

    Raises:
        InputError: most numbers are such dates; with the first.
    """
    present = values.drop_nulls()
    sample = _sampled(present)
    if 4 * int(shuffled_digits(sample).sum()) <= len(sample):
        return
    found = shuffled_digits(values.cast(pl.Int64, strict=False))
    if 2 * int(found.sum()) > len(present):
        row = int(found.arg_max() or 0)
        raise InputError(
            f"{values[row]:.0f} seems to be a date in digits with the day before the month or the "
            "year at the end: such numbers don't follow each other as the dates do",
            where=place(row),
            remedy="write dates as 2024-01-31 or 20240131",
        )


def _like_digits(present: pl.Series) -> bool:
    """Whether most numbers have the size of a date in digits, and all are whole."""
    if present.dtype.is_float():
        if not bool((present.is_finite() & (present.abs() < exactly_whole(pl.Float64()))).all()):
            return False
        if not bool((present == present.floor()).all()):
            return False
    return 2 * int(_sized_as_digits(present).sum()) > len(present)


def _sized_as_digits(values: pl.Series) -> pl.Series:
    """Which numbers have the size of a date in digits of the years 1900 to 2099, Boolean [n]."""
    # The bounds don't fit the small types of a Parquet file.
    values = values.cast(pl.Float64 if values.dtype.is_float() else pl.Int64)
    sized = [(values >= 1900 * unit) & (values < 2100 * unit) for unit in _DIGIT_UNITS]
    return (sized[0] | sized[1] | sized[2]).fill_null(False)


def _of_one_unit(values: pl.Series, place: Place, notes: list[str] | None) -> tuple[pl.Series, str]:
    """Counts of one unit since 1970: null for a number that can only be of another one.

    Where most numbers count a unit, a date in digits among them is of another kind, too.

    Raises:
        InputError: no unit has more than half of them.
    """
    sizes = values.abs().cast(pl.Float64)
    least, most = cast(float, sizes.min() or 0), cast(float, sizes.max() or 0)
    if any(low <= least and most < high for low, high in SIZES.values()) and not (
        _sized_as_digits(values).any()
    ):
        return values, "numbers"  # of one unit, as mostly
    large = ((sizes >= LEAST) & sizes.is_finite()).fill_null(False)
    if not large.any():
        return values, "numbers"
    within = {
        unit: ((sizes >= least) & (sizes < end)).fill_null(False)
        for unit, (least, end) in SIZES.items()
    }
    unit, second = sorted(within, key=lambda unit: -int(within[unit].sum()))[:2]
    if 2 * int(within[unit].sum()) > len(values) - values.null_count():
        foreign = (large & ~within[unit]) | _dates_in_digits(values)
        early = ~large & ~foreign & sizes.is_not_null()
        if early.any():
            row = int(early.arg_max() or 0)
            _tell(
                f"{int(early.sum()):,} times are before 1973 beside {UNIT_NAMES[unit]}, such as "
                f"{values[row]} ({place(row)}): they are kept, and come first",
                notes,
            )
        return values.set(foreign, None), UNIT_NAMES[unit]
    if bool((within[unit] | ~large).all()):
        row = int(large.arg_max() or 0)
        _tell(
            f"times are read as mere numbers, though some have the size of {UNIT_NAMES[unit]}, "
            f"such as {values[row]} ({place(row)})",
            notes,
        )
        return values, "numbers"
    row, other = (int(within[name].arg_max() or 0) for name in (unit, second))
    raise InputError(
        f"some times have the size of {UNIT_NAMES[unit]} ({values[row]} here), others of "
        f"{UNIT_NAMES[second]} ({values[other]}, {place(other)})",
        where=place(row),
        remedy="write all times in one unit",
    )


def _dates_in_digits(values: pl.Series) -> pl.Series:
    """Which numbers are dates in digits, Boolean [n]; quick where few have the size of one."""
    sized = _sized_as_digits(values)
    rows = sized.arg_true()
    text = values.gather(rows).cast(pl.Int64, strict=False).cast(pl.String)
    return sized.scatter(rows, digits(text).times.is_not_null()) if len(rows) else sized


def _tell_missing(times: pl.Series, place: Place, notes: list[str] | None) -> None:
    """Tell of dates, in microseconds, that several rows have and that programs write for none."""
    for date, time in _MISSING.items():
        found = (times == time).fill_null(False)
        rows = int(found.sum())
        if rows > 1:
            _tell(
                f"{rows:,} times are {date}, which some programs write where a date is missing "
                f"(first: {place(int(found.arg_max() or 0))}): they are kept",
                notes,
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
