"""The settings of how interactions become a Dataset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from miracle_core.data.readers.moments import check_moment, parse_moment
from miracle_core.errors import InputError

DEFAULT_K_CORE = 5


class PrepareSettings(BaseModel):
    """What decides a Dataset, given the interactions.

    Attributes:
        name: what the Dataset is called; None takes the interactions' own name.
        k_core: users and items with fewer interactions than this are removed, over and over until
            nothing changes; 0 keeps all. None is 5, but keeps a published benchmark split, which
            was filtered before it was split and capped, as it is.
        user_core: the least number for users, if it differs from ``k_core``.
        item_core: the least number for items, if it differs from ``k_core``.
        min_rating: interactions rated lower are left out.
        since: interactions before this moment are left out: a date (ISO 8601 or digits, UTC) or a
            number in the unit of the data.
        until: interactions from this moment on are left out.
        repeats: whether a user's repeated interactions with an item are kept, or only the
            ``first`` or ``last`` of them.
        duplicates: whether exact duplicates, interactions of equal user, item and time, are kept,
            or only the first of them. A repurchase at another time is no duplicate.
        keep_unsold: items without any interaction stay in the catalogue, if they have text:
            they are candidates like any other, but nothing was learned from their interactions.
        min_length: users with fewer interactions than this are left out, once, before the k-core.
        max_length: only so many of a user's latest interactions are kept, before the k-core.
        split: ``leave-one-out``, or ``temporal`` (:mod:`miracle_core.data.temporal`). With the
            latter the lengths and the k-core are those of the training part.
        valid_from: when the validation part of a temporal split begins, as ``since``; None: after
            80 % of all interactions.
        test_from: when the test part begins; None: after 90 %.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    k_core: int | None = Field(default=None, ge=0)
    user_core: int | None = Field(default=None, ge=0)
    item_core: int | None = Field(default=None, ge=0)
    min_rating: float | None = None
    since: str | None = None
    until: str | None = None
    repeats: Literal["keep", "first", "last"] = "keep"
    duplicates: Literal["keep", "drop"] = "keep"
    keep_unsold: bool = False
    min_length: int | None = Field(default=None, ge=1)
    max_length: int | None = Field(default=None, ge=1)
    split: Literal["leave-one-out", "temporal"] = "leave-one-out"
    valid_from: str | None = None
    test_from: str | None = None


def check_settings(settings: PrepareSettings) -> None:
    """Refuse settings that fit no data, before any is read.

    Raises:
        InputError: something that is no moment, or settings that don't fit each other.
    """
    temporal = settings.split == "temporal"
    for text, option in (
        (settings.since, "--since"),
        (settings.until, "--until"),
        (settings.valid_from, "--valid-from"),
        (settings.test_from, "--test-from"),
    ):
        if text:
            with _naming(option):
                check_moment(text)
    if (settings.valid_from or settings.test_from) and not temporal:
        raise InputError(
            "moments are for a temporal split",
            where="--valid-from, --test-from",
            remedy="add --split temporal",
        )
    if temporal and settings.repeats == "last":
        raise InputError(
            "the last of several interactions is known only later: that would look ahead",
            where="--repeats last",
            remedy="keep the first, or split by leave-one-out",
        )


def check_alone(recipe: str, settings: PrepareSettings) -> None:
    """Refuse filters together with a recipe: the result would not be the recipe's.

    Raises:
        InputError: naming the first setting that is not the recipe's.
    """
    if settings.k_core is None:
        settings = settings.model_copy(update={"k_core": DEFAULT_K_CORE})
    own = PrepareSettings(name=settings.name, k_core=DEFAULT_K_CORE)
    for field in PrepareSettings.model_fields:
        if getattr(settings, field) != getattr(own, field):
            raise InputError(
                f"the recipe {recipe!r} says itself what is left out",
                where=f"--{field.replace('_', '-')} --recipe {recipe}",
                remedy="leave one of them out",
            )


def moment(text: str, unit: str, option: str) -> int | float:
    """A moment that an option names, as a number in the unit of the data.

    Raises:
        InputError: it is neither a date nor a number, or can't be compared with the data, naming
            the option.
    """
    with _naming(option):
        return parse_moment(text, unit)


@contextmanager
def _naming(option: str) -> Iterator[None]:
    """A block in which an InputError is blamed on an option."""
    try:
        yield
    except InputError as error:
        raise InputError(error.what, where=option, remedy=error.remedy) from error
