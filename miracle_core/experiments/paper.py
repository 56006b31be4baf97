"""What the paper prints, by table, Dataset and row (``library/paper.toml``)."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

Rows = dict[str, dict[str, float]]  # a metric's value, by system


@dataclass(frozen=True)
class Counts:
    """A row of the paper's table 1.

    Attributes:
        name: what the paper calls the data set.
        users: number of users.
        items: number of items.
        interactions: number of interactions.
        sparsity: the last column as printed; None where the paper prints none.
    """

    name: str
    users: int
    items: int
    interactions: int
    sparsity: str | None


@functools.cache
def _printed() -> dict[str, Any]:
    library = files("miracle_core.experiments") / "library"
    return tomllib.loads((library / "paper.toml").read_text(encoding="utf-8"))


def data_names() -> list[str]:
    """The data sets of the paper's table 1, as the paper calls them."""
    return list(_printed()["table1"])


def data_name(dataset: str) -> str | None:
    """The paper's name for a Dataset of this name; None if the paper does not have it.

    Case and punctuation don't matter, and Amazon's full names of the categories are known.
    """
    wanted = _letters(dataset)
    for name, row in _printed()["table1"].items():
        if wanted in map(_letters, (name, *row["also"])):
            return str(name)
    return None


def counts(dataset: str) -> Counts | None:
    """The row of table 1 for a Dataset of this name; None if the paper does not have it."""
    name = data_name(dataset)
    if name is None:
        return None
    row = _printed()["table1"][name]
    own = (row["users"], row["items"], row["interactions"], row.get("sparsity"))
    return Counts(name, *own)


def rows(table: str, dataset: str) -> Rows:
    """The rows of one of the paper's tables for a Dataset; none where it has no such rows.

    Args:
        table: ``table2``, ``table3`` or ``table4``; empty for none.
        dataset: the Dataset's name.
    """
    name = data_name(dataset)
    found: Rows = _printed().get(table, {}).get(name, {}) if name else {}
    return found


def _letters(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
