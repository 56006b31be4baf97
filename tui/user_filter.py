"""Filter the users by conditions on their figures and by part of the id."""

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
# For systems that see one interest in every user.
PLAIN_SORTS = ("user", "items", "rank")


def columns(table: UserTable) -> dict[str, Any]:
    """The table's columns, under the names used in filters and headers."""
    return {"items": table.lengths, "interests": table.active, "rank": table.ranks}


def chosen_users(
    table: UserTable, user_ids: Sequence[str], text: str, sort: str, *, down: bool
) -> list[int]:
    """Return the users that pass a filter, in order.

    Args:
        table: every user's figures.
        user_ids: every user's id.
        text: words that must all match: ``items>5``, ``interests>=3``, ``rank<=10``, or part of
            the id. Conditions on the rank leave out users without a held-out item.
        sort: one of :data:`SORTS`; ``user`` is the data set's order.
        down: whether to sort in descending order.
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
    if sort == "rank":  # users without a held-out item come last in both orders
        values = np.where(values > 0, values, 0 if down else np.iinfo(np.int64).max)
    order = np.argsort(-values if down else values, kind="stable")
    return [int(user) for user in users[order]]
