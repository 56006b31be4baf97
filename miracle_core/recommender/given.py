"""How a caller names an item: by index, by id, or as a new item by its title.

A plain ``str`` could be an id or a title, so it is refused: the type says which one is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeAlias

from miracle_core.errors import InputError

if TYPE_CHECKING:
    import numpy as np  # the explorer names items before it loads NumPy


@dataclass(frozen=True)
class ItemId:
    """A catalogue item by its id.

    Attributes:
        id: the id, as in the data.

    Raises:
        InputError: the id is not a ``str``.
    """

    id: str

    def __post_init__(self) -> None:
        check_text("an item id", self.id)


@dataclass(frozen=True)
class NewTitle:
    """An item that the catalogue doesn't hold, by its title.

    Attributes:
        title: any text. It is encoded when a question needs its vector.

    Raises:
        InputError: the title is not a ``str``.
    """

    title: str

    def __post_init__(self) -> None:
        check_text("a title", self.title)


# An item as a caller may name it. An integer is an index of the catalogue.
Given: TypeAlias = "int | np.integer[Any] | ItemId | NewTitle"
# The same once ids are looked up.
Known: TypeAlias = int | NewTitle


def check_index(value: object, kind: str, count: int) -> int:
    """An index as Python's int.

    Args:
        value: an int or a NumPy integer. Booleans and floats are refused, whole ones too.
        kind: what it counts: ``item``, ``user`` or ``capsule``.
        count: how many of them there are.

    Raises:
        InputError: it is not an integer, or is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):  # NumPy's integers are too
        raise InputError(
            f"{described(value)} is not an index: the {kind} must be an integer",
            remedy=f"give an int from 0 to {count - 1}",
        )
    index = int(value)
    if not 0 <= index < count:
        raise InputError(f"there is no {kind} {index}", remedy=f"indices go from 0 to {count - 1}")
    return index


def check_text(what: str, value: object) -> None:
    """Refuse anything but a ``str``.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, str):
        raise InputError(f"{what} must be text, not {described(value)}", remedy="give a str")


def as_list(values: object, what: str) -> list[Any]:
    """The members of a list, a tuple, a range, an array or another ordered collection.

    Args:
        values: the collection. Text, sets and mappings are refused: iterating over them gives
            single characters, or an order that nobody chose.
        what: what it holds, for the error.

    Raises:
        InputError: it is no such collection.
    """
    unordered = isinstance(values, str | bytes | Mapping | Set)
    if unordered or not isinstance(values, Iterable):
        raise InputError(f"{what} must be a list, not {described(values)}", remedy="put it in []")
    return list(values)


def is_history(value: object) -> bool:
    """Whether a member of a history is itself a history, so that the caller gave several."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def described(value: object) -> str:
    """A value and its type, short enough for an error."""
    shown = repr(value)
    return f"{shown if len(shown) <= 60 else shown[:59] + '…'} ({type(value).__name__})"
