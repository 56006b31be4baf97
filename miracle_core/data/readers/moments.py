"""A moment that a person names, such as ``--since 2024-01-31``, in the unit of the data."""

from __future__ import annotations

import contextlib
import math
import re
from typing import cast

import polars as pl

from miracle_core.data.readers.dates import digits, year_first
from miracle_core.data.readers.units import UNIT_NAMES, unit_of_size
from miracle_core.errors import InputError


def check_moment(text: str) -> None:
    """Refuse text that is no moment in any unit.

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
        if unit_of_size(number) != unit:
            raise InputError(
                f"{text} can't be compared with the times of the data: they are "
                f"{UNIT_NAMES[unit]}, and it is not",
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
    written = pl.Series([text.strip()])
    for way in (digits, year_first):
        time = way(written).times[0]
        if time is not None:
            return cast(int, time)
    raise InputError(
        f"{text!r} is neither a date like 2024-01-31 nor a number",
        remedy="write a date, or the number as it stands in the data",
    )
