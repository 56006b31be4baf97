"""The units in which times count since 1970, found by the size of the numbers."""

from __future__ import annotations

from typing import cast

import polars as pl

# 10^8 seconds are in 1973: a smaller number is no time, but perhaps a place in a sequence.
LEAST = 1e8
# Each unit, and the number below which a time is in that unit.
_UP_TO = (("", LEAST), ("s", 1e11), ("ms", 1e14), ("us", 1e17))
# The range of numbers of each unit: from 1973 to 2286 (seconds to 5138: they may be counters).
SIZES = {"s": (1e8, 1e11), "ms": (1e11, 1e13), "us": (1e14, 1e16), "ns": (1e17, 1e19)}
UNIT_NAMES = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "": "mere numbers",
}


def unit_of(times: pl.Series) -> str:
    """The unit of times since 1970, by their size: ``s``, ``ms``, ``us`` or ``ns``.

    The largest time decides: 10^11 seconds would be the year 5138, and 10^11 milliseconds are 1973.
    Numbers below 10^8 are no times since 1970, so their unit is empty.
    """
    return unit_of_size(cast(float, times.abs().max() or 0))


def unit_of_size(size: float) -> str:
    """The unit of the largest time, by its size; empty where it is a mere number."""
    return next((unit for unit, end in _UP_TO if abs(float(size)) < end), "ns")
