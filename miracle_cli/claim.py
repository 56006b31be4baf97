"""The options of what compares systems: the claim, and what the systems are compared on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.data.dataset import Split

Primary = Annotated[
    str | None,
    typer.Option(
        metavar="METRIC",
        help="The metric of the claim [default: ndcg@10, or an experiment's own].",
    ),
]
Proposed = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The system that is claimed to be better [default: an experiment's own, or none].",
    ),
]
SplitName = Annotated[
    str | None,
    typer.Option(
        metavar="test|valid",
        help="What runs are evaluated on [default: test, or an experiment's own].",
    ),
]
Clusters = Annotated[
    Path | None,
    typer.Option(
        help="A CSV or Parquet file (user_id, cluster): users that are not independent, as "
        "several invoices of one customer."
    ),
]


def split_named(name: str) -> Split:
    """The split that ``--split`` names.

    Raises:
        InputError: it is none that is evaluated.
    """
    if name == "test":
        return "test"
    if name == "valid":
        return "valid"
    raise InputError("is not a split to evaluate", where=f"--split {name}", remedy="test or valid")
