"""Ways to write a date or a time. Each reads a whole column; values of another kind become null.

A column is written in one way. It may mix dates with and without a time, and times of several
zones: all become microseconds since 1970 in UTC. A time without a zone is UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

_CLOCK = (
    r"(?P<H>\d{1,2})(?::(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?)?"
    r"\s*(?P<p>[AaPp]\.?[Mm]\.?)?"
)
# Zones of the earth: from -12:00 to +14:00.
_ZONE = (
    r"\s*(?P<z>Z|z|UTC|GMT|\+(?:0\d|1[0-3])(?::?[0-5]\d)?|\+14(?::?00)?|"
    r"-(?:0\d|1[01])(?::?[0-5]\d)?|-12(?::?00)?)?"
)
_YEAR_FIRST = (
    r"^(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})(?:(?:[Tt]|,?\s+)" + _CLOCK + _ZONE + ")?$"
)
_DIGITS = (
    r"^(?P<y>(?:19|20)\d{2})(?P<m>\d{2})(?P<d>\d{2})"
    r"(?:T?(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})?)?" + _ZONE + "$"
)
_YEAR_LAST = (
    # 24-01-31 may begin with its year: years of two digits are read after / and . only.
    r"^(?P<a>\d{1,2})(?P<s>[-/.])(?P<b>\d{1,2})(?:[-/.](?P<y>\d{4})|[/.](?P<yy>\d{2}))"
    r"(?:(?:[Tt]|,?\s+)" + _CLOCK + _ZONE + ")?$"
)
# By their length in bytes.
_COMMON = {
    10: ("%Y-%m-%d",),
    19: ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"),
    20: ("%Y-%m-%dT%H:%M:%SZ",),
}
_CLOCKS = (1, 10**4, 10**6)  # a date in digits without a time, with HHMM, with HHMMSS
_OLD_YEARS = 69  # of two digits: from here on they are 19.., as strptime has it
_MIXED = 0.1  # of the dates that tell: so many of the rarer kind are no slip


@dataclass(frozen=True)
class Reading:
    """A column in one way of writing.

    Attributes:
        like: the way, for messages, with an example.
        times: Int64 [n], microseconds since 1970 in UTC, or null.
        note: what was decided and may be wrong.
        clash: two rows, if the column is written in two ways, so that the rest is ambiguous: one in
            which the day comes first, and one in which the month does.
    """

    like: str
    times: pl.Series
    note: str = ""
    clash: tuple[int, int] | None = None


def year_first(text: pl.Series) -> Reading:
    """ISO 8601, and the same with other signs: ``2024-01-31T12:00:00+01:00``, ``2024/1/31 12:00``.

    Args:
        text: String [n], stripped.
    """
    like = "the year first, like 2024-01-31"
    # The commonest forms are read at twenty times the speed where the whole column is of one.
    lengths = text.str.len_bytes().unique()
    for form in _COMMON.get(lengths[0], ()) if len(lengths) == 1 else ():
        times = text.str.to_datetime(form, time_unit="us", strict=False).cast(pl.Int64)
        if not times.null_count():
            return Reading(like, times)
    parts = text.str.extract_groups(_YEAR_FIRST).struct.unnest()
    return Reading(like, _instants(parts, "m", "d"))


def digits(text: pl.Series) -> Reading:
    """``20240131``, ``202401311200`` or ``20240131120000``, also with a T and a zone.

    Args:
        text: String [n], stripped.
    """
    parts = text.str.extract_groups(_DIGITS).struct.unnest()
    parts = parts.with_columns(f=pl.lit(None, pl.String), p=pl.lit(None, pl.String))
    return Reading(
        "dates in digits, like 20240131 or 20240131120000",
        _instants(parts, "m", "d"),
        "times are read as dates in digits (20240131, 20240131120000)",
    )


def year_last(text: pl.Series) -> Reading:
    """``31/01/2024 12:00`` or ``1/31/2024 12:00 PM``: the whole column shows which comes first.

    If no number above 12 shows it, the day is taken to come first in dates with dots, else the
    month, and the reading's note says so.

    Args:
        text: String [n], stripped.
    """
    parts = text.str.extract_groups(_YEAR_LAST).struct.unnest()
    # One sign and one length of years in a column, the commonest.
    kind = (parts["s"] + parts["y"].is_null().replace_strict({True: "2", False: "4"})).alias("kind")
    kinds = kind.drop_nulls().value_counts().sort(["count", "kind"], descending=[True, False])
    if not kinds.height:
        return Reading("", pl.repeat(None, len(text), dtype=pl.Int64, eager=True))
    sign, length = kinds["kind"][0]
    other = (kind != kinds["kind"][0]).fill_null(True)
    if length == "2":
        old = pl.col("yy").cast(pl.Int64) >= _OLD_YEARS
        century = pl.when(old).then(pl.lit("19")).otherwise(pl.lit("20"))
        parts = parts.with_columns(y=century + pl.col("yy"))
    by_order = {
        "day": _instants(parts, "b", "a").set(other, None),
        "month": _instants(parts, "a", "b").set(other, None),
    }
    fits = {order: times.is_not_null() for order, times in by_order.items()}
    only_day, only_month = fits["day"] & ~fits["month"], fits["month"] & ~fits["day"]
    told = (int(only_day.sum()), int(only_month.sum()))
    order = ("day" if sign == "." else "month") if told[0] == told[1] else "day"
    if told[0] < told[1]:
        order = "month"
    example = {"day": f"31{sign}01", "month": f"01{sign}31"}[order]
    note = ""
    if not any(told) and not by_order["day"].equals(by_order["month"]):
        note = (
            f"no date tells whether the day or the month comes first (no day is above 12): read "
            f"with the {order} first"
        )
    if length == "2" and _year_may_be_first(parts, other):
        note = (
            f"years have two digits and are read at the end of a date (01{sign}31{sign}24): write "
            "dates as 2024-01-31 if they are at its beginning"
        )
    return Reading(
        f"the {order} first, like {example}{sign}{'2024' if length == '4' else '24'}",
        by_order[order],
        note,
        (only_day.arg_max() or 0, only_month.arg_max() or 0)
        if min(told) > _MIXED * sum(told)
        else None,
    )


def _year_may_be_first(parts: pl.DataFrame, other: pl.Series) -> bool:
    """Whether the last part of dates takes more values than both parts before it, as days do."""
    kinds = parts.filter(~other).select(pl.col("a", "b", "yy").n_unique())
    return bool(kinds["yy"][0] > max(kinds["a"][0], kinds["b"][0]))


def shuffled_digits(numbers: pl.Series) -> pl.Series:
    """Which numbers are dates in digits that don't sort: ``31012024``, ``1312024``, ``20243101``.

    Args:
        numbers: Int64 [n]; also with a clock behind (HHMM or HHMMSS).

    Returns:
        Boolean [n], False for null.
    """
    found = pl.repeat(False, len(numbers), dtype=pl.Boolean, eager=True)
    for clock in _CLOCKS:
        date, time = numbers // clock, numbers % clock
        timely = (time // (clock // 100) < 24) & (time // (clock // 10_000 or 1) % 100 < 60)
        timely &= time % 100 < 60
        first, middle, last = date // 10**6, date // 10**4 % 100, date % 10**4
        year_last = _a_year(last) & (
            (_a_day(first) & _a_month(middle)) | (_a_month(first) & _a_day(middle))
        )
        day_second = _a_year(date // 10**4) & _a_day(date // 100 % 100) & _a_month(date % 100)
        found |= ((year_last | day_second) & (timely if clock > 1 else True)).fill_null(False)
    return found


def short_digits(numbers: pl.Series) -> pl.Series:
    """Which numbers are dates with years of two digits: ``240131``, ``310124``, ``13124``.

    Args:
        numbers: Int64 [n].

    Returns:
        Boolean [n], False for null.
    """
    first, middle, last = numbers // 10**4, numbers // 100 % 100, numbers % 100
    year_last = (_a_day(first) & _a_month(middle)) | (_a_month(first) & _a_day(middle))
    year_first = first.is_between(10, 99) & _a_month(middle) & _a_day(last)
    return (year_last | year_first).fill_null(False)


def _a_year(numbers: pl.Series) -> pl.Series:
    return numbers.is_between(1900, 2099)


def _a_month(numbers: pl.Series) -> pl.Series:
    return numbers.is_between(1, 12)


def _a_day(numbers: pl.Series) -> pl.Series:
    return numbers.is_between(1, 31)


WAYS: tuple[Callable[[pl.Series], Reading], ...] = (year_first, year_last, digits)


def _instants(parts: pl.DataFrame, month: str, day: str) -> pl.Series:
    """Microseconds since 1970 in UTC; null where the parts are no date or time.

    Args:
        parts: String columns y, H, M, S, f, p and z, and those of the month and the day.
        month: the name of the month's column.
        day: the name of the day's column.
    """

    def two(name: str) -> pl.Expr:
        return pl.col(name).fill_null("0").str.zfill(2)

    hour = pl.col("H").fill_null("0").cast(pl.Int64)
    afternoon = pl.col("p").str.to_lowercase().str.starts_with("p")
    # 12 AM is midnight, 12 PM is noon; there is no 13 PM.
    hour = (
        pl.when(pl.col("p").is_null())
        .then(hour)
        .when((hour >= 1) & (hour <= 12))
        .then(hour % 12 + pl.when(afternoon).then(12).otherwise(0))
    )
    zone = pl.col("z").str.replace(":", "", literal=True)
    minutes = (
        zone.str.slice(1, 2).cast(pl.Int64, strict=False) * 60
        + zone.str.slice(3, 2).str.replace("^$", "0").cast(pl.Int64, strict=False)
    ) * pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    fraction = pl.col("f").fill_null("").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
    written = pl.concat_str(
        pl.col("y"),
        two(month),
        two(day),
        hour.cast(pl.String).str.zfill(2),
        two("M"),
        two("S"),
    )
    instants = written.str.to_datetime("%Y%m%d%H%M%S", time_unit="us", strict=False)
    return parts.select(
        (instants.cast(pl.Int64) + fraction - minutes.fill_null(0) * 60_000_000).alias("time")
    )["time"]
