"""What preparation left out of a Dataset, step by step, and how to keep it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError


class Loss(BaseModel):
    """What one step left out.

    Attributes:
        step: its name.
        users: how many users.
        items: how many items of the catalogue.
        interactions: how many interactions.
        keep: what to change to keep them; empty if nothing does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    users: int
    items: int
    interactions: int
    keep: str


_LOSSES = TypeAdapter(tuple[Loss, ...])


def losses(dataset: Dataset) -> tuple[Loss, ...]:
    """What each step left out; empty for a Dataset of an older version, which did not record it.

    Raises:
        InputError: the manifest's entry can't be read.
    """
    try:
        return _LOSSES.validate_python(dataset.manifest.counts.get("lost", ()))
    except ValidationError as error:
        raise InputError(
            "its counts of what was left out can't be read",
            where=str(dataset.folder / "manifest.json"),
            remedy="preprocess the data again",
        ) from error


def left_out(dataset: Dataset, kind: Literal["user", "item"]) -> str:
    """A hint if a user or an item isn't found: filters may have left it out.

    The Dataset doesn't keep the ids of what was left out, so the hint can't be certain.

    Returns:
        A phrase; empty if no user (or item) was left out.
    """
    found = [(loss, loss.users if kind == "user" else loss.items) for loss in losses(dataset)]
    found = [(loss, number) for loss, number in found if number]
    if not found:
        return ""
    steps = ", ".join(
        f"{number:,} by {loss.step!r}" + (f" (to keep them: {loss.keep})" if loss.keep else "")
        for loss, number in found
    )
    return f"the preparation left {kind}s out, which may be why: {steps}"
