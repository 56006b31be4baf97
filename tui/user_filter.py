"""The filter over the users: conditions on their figures, and a part of the id."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miracle_core.recommender.results import UserTable

_CONDITION = re.compile(r"(items|interests|rank)(<=|>=|<|>|=)(\d+)")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
SORTS = ("user", "items", "interests", "rank")
# Of a system that sees one interest in everybody.
PLAIN_SORTS = ("user", "items", "rank")


def columns(table: UserTable) -> dict[str, Any]:
    """The table's figures by the names used in filters and heads."""
    return {"items": table.lengths, "interests": table.active, "rank": table.ranks}


def chosen_users(
    table: UserTable, user_ids: Sequence[str], text: str, sort: str, *, down: bool
) -> list[int]:
    """The users that a filter leaves, in order.

    Args:
        table: every user's figures.
        user_ids: every user's id.
        text: words that all must hold: ``items>5``, ``interests>=3``, ``rank<=10``, or a part of
            the id. Conditions on the rank leave out users with nothing held out.
        sort: one of :data:`SORTS`; ``user`` is the data set's order.
        down: whether from the largest.
    """
    import numpy as np

    figures = columns(table)
    keep = np.ones(len(table.lengths), dtype=bool)
    for word in text.split():
        condition = _CONDITION.fullmatch(word)
        if condition:
            name, sign, number = condition.groups()
            keep &= _COMPARE[sign](figures[name], int(number))
            if name == "rank":
                keep &= figures["rank"] > 0
        else:
            part = word.casefold()
            keep &= np.fromiter((part in uid.casefold() for uid in user_ids), bool, len(keep))
    users = np.flatnonzero(keep)
    if sort == "user":
        return [int(user) for user in (users[::-1] if down else users)]
    values = figures[sort][users]
    if sort == "rank":  # without a held-out item there is no rank: last, either way
        values = np.where(values > 0, values, 0 if down else np.iinfo(np.int64).max)
    order = np.argsort(-values if down else values, kind="stable")
    return [int(user) for user in users[order]]
