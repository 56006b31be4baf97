"""Numbers that have lost digits: too large for a float, or in a spreadsheet's exponent form."""

from __future__ import annotations

import polars as pl

# A number in exponent form, as spreadsheets and some programs write long ones.
_EXPONENT = r"^[+-]?(\d+)(?:\.(\d*))?[eE]\+?(\d{1,3})$"


def exactly_whole(kind: pl.DataType) -> int:
    """The size below which a float holds each whole number exactly: 2^24 or 2^53.

    Args:
        kind: Float32 or Float64.
    """
    return 1 << (24 if kind == pl.Float32 else 53)


def lost_digits(text: pl.Series) -> int | None:
    """Where a number in exponent form has fewer digits than it stands for.

    A spreadsheet turns 1588687728923 into ``1.58869E+12``. Other programs write all digits
    (``1.588687728923E12``) and leave out only zeros at the end. So if one number of the column has
    all of its digits, none has lost any.

    Args:
        text: String [n].

    Returns:
        The first such row; None where nothing is lost.
    """
    if not text.str.contains(r"\d[eE]\+?\d").any():
        return None
    parts = text.str.extract_groups(_EXPONENT).struct.unnest()
    whole, fraction, exponent = (parts[name] for name in parts.columns)
    written = (whole + fraction.fill_null("")).str.len_chars()
    needed = whole.str.len_chars() + exponent.cast(pl.Int64)
    lost = (written < needed).fill_null(False)
    complete = (written >= needed) & (exponent.cast(pl.Int64) > 0)
    if complete.any() or not lost.any():
        return None
    return int(lost.arg_max() or 0)
