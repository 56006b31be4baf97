"""The option ``--seen``: what becomes of items that a user's history holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.config import SeenRule

# Each rule in words.
SEEN = {
    "as-printed": "candidates like any other",
    "leave-out": "left out of the candidates",
    "gain": "their scores gain what was learned",
}
Seen = Annotated[
    str | None,
    typer.Option(
        "--seen",
        metavar="|".join(SEEN),
        help="What becomes of items that the history holds: candidates like any other (the paper's "
        "way), left out, or their scores gain a learned number [default: as in training].",
    ),
]


def seen_option(given: str | None, exclude_seen: bool = False) -> SeenRule | None:
    """The rule that was asked for, or None.

    Args:
        given: the value of ``--seen``.
        exclude_seen: whether ``--exclude-seen`` was said.

    Raises:
        InputError: there is no such rule, or both options say something else.
    """
    if given is not None and given not in SEEN:
        raise InputError(
            "is not a seen rule", where=f"--seen {given}", remedy=f"choose one of {', '.join(SEEN)}"
        )
    if exclude_seen and given not in (None, "leave-out"):
        raise InputError("--exclude-seen is --seen leave-out", where=f"--seen {given}")
    return cast("SeenRule | None", "leave-out" if exclude_seen else given)
