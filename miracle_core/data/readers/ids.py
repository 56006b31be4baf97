"""Ids as they are written: whole numbers that became floats, and ids that are nearly equal."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from miracle_core.data.readers.exact import exactly_whole
from miracle_core.errors import InputError

_FLOAT = r"^(-?\d+)\.0+$"
_FRACTION = r"^-?\d+\.\d*[1-9]\d*$"
_NUMBER = r"^-?\d+(?:\.0+)?$"
# Written by programs that take ids for measured numbers: 1E+05, 1.23457E+11, 1.2345678E7.
_EXPONENT = r"^-?\d(?:\.\d+[eE]\+?|[eE]\+)\d{1,3}$"
_WORDS: dict[pl.DataType, str] = {pl.Float64(): "floats", pl.Float32(): "floats of 32 bits"}
_MAYBE_EXPONENT = r"^\d[eE]\d{1,2}$"  # 1e5, which may be a code, too


def ids_as_text(values: pl.Series, place: Callable[[int], str]) -> pl.Series:
    """Ids of a column with a type as text; whole numbers without a point.

    Args:
        values: any type, [n]; null and NaN are ids that are missing.
        place: where row i stands.

    Returns:
        String [n].

    Raises:
        InputError: a type that holds no ids; a number that is not whole, or one so large that a
            float lost its last digits.
        pl.exceptions.PolarsError: text can't be made of them.
    """
    kind = values.dtype
    if kind == pl.Boolean or kind.is_nested() or kind == pl.Duration:
        raise InputError(
            f"the column {values.name!r} holds {kind}, and can't be a column of ids",
            where=place(0),
            remedy="name a column of whole numbers or text",
        )
    if not kind.is_float() and not kind.is_decimal():
        return values.cast(pl.String)
    fraction, rounded = (values != values.floor()).fill_null(False), None
    if kind.is_float():
        values = values.fill_nan(None)
        fraction = (values != values.floor()).fill_null(False)
        rounded = (values.abs() >= exactly_whole(kind)).fill_null(False)
    for wrong, what in ((rounded, "too large for its digits to be right"), (fraction, "not whole")):
        if wrong is not None and wrong.any():
            row = int(wrong.arg_max() or 0)
            raise InputError(
                f"the column {values.name!r} holds ids as {_WORDS.get(kind, kind)}, and "
                f"{values[row]} is {what}",
                where=place(row),
                remedy="store ids as whole numbers (Int64) or as text",
            )
    return values.cast(pl.Int64 if kind.is_float() else pl.Decimal(38, 0)).cast(pl.String)


def whole_ids(values: pl.Series, kind: str, place: Callable[[int], str]) -> pl.Series:
    """Ids of a column of whole numbers, written as such: ``17850.0`` is ``17850``.

    Some files hold ``17850`` and others ``17850.0`` for the same customer, because a column with a
    missing number was stored as floats. A column is one of whole numbers where more than half of
    its ids are, and none is a fraction. In such a column ``1.23457E+11`` is what a spreadsheet left
    of an id: it may be several, so it is refused.

    Args:
        values: String or Enum [n].
        kind: ``user`` or ``item``, for the message.
        place: where row i stands.

    Returns:
        String or Enum [n].

    Raises:
        InputError: both ways are there, in a column that is not one of whole numbers; or numbers
            in exponent form in one that is.
    """
    names = values.dtype.categories if isinstance(values.dtype, pl.Enum) else values
    _refuse_exponents(values, names, kind, place)
    floats = names.str.contains(_FLOAT)
    if not floats.any():
        return values
    distinct = names.drop_nulls().unique()
    distinct = distinct.filter(distinct != "")
    numbers = int(distinct.str.contains(_NUMBER).sum())
    if 2 * numbers <= len(distinct) or distinct.str.contains(_FRACTION).any():
        _refuse_both(values, distinct, kind, place)
        return values
    renamed = names.str.replace(_FLOAT, "$1")
    if not isinstance(values.dtype, pl.Enum):
        return renamed
    if renamed.n_unique() == len(renamed):
        coded = pl.Series(values.name, renamed, dtype=pl.Enum(renamed))
        return coded.gather(values.to_physical())
    return values.cast(pl.String).str.replace(_FLOAT, "$1")


def _refuse_exponents(
    values: pl.Series, names: pl.Series, kind: str, place: Callable[[int], str]
) -> None:
    """Refuse numbers in exponent form in a column of whole numbers, or of nothing else.

    Raises:
        InputError: with the first.
    """
    if not names.str.contains(_EXPONENT).any():
        return
    distinct = names.drop_nulls().unique()
    distinct = distinct.filter(distinct != "")
    numbers = distinct.str.contains(_NUMBER) | distinct.str.contains(_EXPONENT)
    if 2 * int(numbers.sum()) <= len(distinct):
        return
    text = values.cast(pl.String)
    row = int(text.str.contains(_EXPONENT).fill_null(False).arg_max() or 0)
    raise InputError(
        f"the {kind} id {text[row]!r} is a number in exponent form: its digits may be lost, and it "
        "is not equal to the same number written out",
        where=place(row),
        remedy=f"write the file again, with the {kind} ids as text or as whole numbers",
    )


def _refuse_both(
    values: pl.Series, distinct: pl.Series, kind: str, place: Callable[[int], str]
) -> None:
    """Refuse a column of other ids that holds a number in both ways.

    Raises:
        InputError: with the two.
    """
    found = distinct.filter(distinct.str.contains(_FLOAT))
    both = found.filter(found.str.replace(_FLOAT, "$1").is_in(distinct.implode())).sort()
    if len(both):
        row = int((values.cast(pl.String) == both[0]).arg_max() or 0)
        raise InputError(
            f"the {kind} ids hold both {both[0]!r} and {both[0].split('.')[0]!r}, and many that "
            "are not whole numbers: whether these two are one can't be told",
            where=place(row),
            remedy="write ids that are whole numbers without a point",
        )


def alike_notes(kind: str, ids: pl.Series) -> list[str]:
    """Notes on ids that differ from another one in case, spaces or as written numbers only.

    Args:
        kind: ``user`` or ``item``.
        ids: String, distinct.

    Returns:
        The notes.
    """
    ids = ids.drop_nulls()
    notes = []
    codes = ids.filter(ids.str.contains(_MAYBE_EXPONENT)).sort()
    if len(codes) and 2 * int(ids.str.contains(_NUMBER).sum()) > len(ids):
        notes.append(
            f"the {kind} id {codes[0]!r} among whole numbers is taken as it is written, not as a "
            "number"
        )
    frame = pl.DataFrame([ids.alias("id")]).with_columns(
        pl.col("id").str.strip_chars().str.to_lowercase().alias("folded")
    )
    found = frame.filter(pl.col("folded").is_duplicated())
    if not found.height:
        return notes
    first, second = found.sort("folded", "id")["id"].head(2)
    return [
        *notes,
        f"{found.height:,} {kind} ids differ from another only in case or spaces, such as "
        f"{first!r} and {second!r}: they are taken as different {kind}s",
    ]


def no_shared_item(events: pl.Series, items: pl.Series, place: str) -> InputError:
    """What to raise where every interaction is with an item that the item table doesn't have.

    Args:
        events: the item of each interaction.
        items: the ids of the item table.
        place: where the first interaction stands.
    """
    wanted = str(events[0])
    examples = ", ".join(repr(item) for item in items.head(3))
    return InputError(
        "no interaction is with an item of the item file: the ids of the two have nothing in "
        f"common (here it is {wanted!r}{nearly(wanted, items)}; the items are {examples}, ...)",
        where=place,
        remedy="name the item file of the same data set, with the same ids in its column of items",
    )


def nearly(wanted: str, ids: pl.Series) -> str:
    """The end of a message that an id is missing: one that is nearly the same, if there is one.

    Args:
        wanted: the id.
        ids: String, those that are there.
    """

    def folded(text: pl.Series) -> pl.Series:
        """Without case, spaces, leading zeros and a ``.0``."""
        plain = text.str.strip_chars().str.to_lowercase().str.replace(r"^(\d+)\.0+$", "$1")
        return plain.str.replace(r"^0+(\d)", "$1")

    same = folded(ids) == folded(pl.Series([wanted], dtype=pl.String))[0]
    return f" (it has {ids[int(same.arg_max() or 0)]!r})" if same.any() else ""
