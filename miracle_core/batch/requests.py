"""One JSON request for recommendations, for a user or a history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from miracle_core.errors import InputError, did_you_mean
from miracle_core.recommender.given import ItemId, Known, NewTitle

if TYPE_CHECKING:
    from miracle_core.recommender import Recommender


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ById(_Strict):
    """An item of the catalogue."""

    item_id: str


class ByTitle(_Strict):
    """An item by its title: of the catalogue, or new, as ``--title`` takes it."""

    title: str


class Request(_Strict):
    """What is asked.

    Attributes:
        user_id: goes into the answer. Without a history it must be a user of the data.
        history: oldest first: ids of catalogue items, or ``{"title": ...}``; None takes the user's
            whole history in the data.
    """

    user_id: str | None = None
    history: tuple[str | ById | ByTitle, ...] | None = None

    @property
    def by_title(self) -> bool:
        """Whether its history names an item by its title."""
        return any(isinstance(item, ByTitle) for item in self.history or ())

    def history_in(self, recommender: Recommender) -> tuple[Known, ...]:
        """The history's items, looked up. An unknown id is never taken for a title.

        Raises:
            InputError: no such user or item, an empty history, or a new item where the system
                takes none or its encoder can't be had.
        """
        if self.history is None:
            if self.user_id is None:
                raise InputError(
                    "names neither a user nor a history",
                    remedy='write {"user_id": "ID"} or {"history": ["ID", {"title": "..."}]}',
                )
            return recommender.user_history(self.user_id).items
        if not self.history:
            raise InputError("its history is empty", remedy="name at least one item")
        found = []
        for place, item in enumerate(self.history, start=1):
            try:
                if isinstance(item, ByTitle):
                    given = recommender.match(item.title)[0].given
                    if isinstance(given, NewTitle):
                        recommender.check_new(given)
                    found.append(given)
                else:
                    named = ItemId(item if isinstance(item, str) else item.item_id)
                    found.append(recommender.item(named.id))
            except InputError as error:
                raise InputError(error.what, where=f"item {place}", remedy=error.remedy) from error
        return tuple(found)


def check_text(line: str) -> None:
    """Refuse a line that held other bytes than UTF-8 (read with ``surrogateescape``).

    Raises:
        InputError: it did.
    """
    try:
        line.encode()
    except UnicodeEncodeError as error:
        raise InputError("is not UTF-8 text", remedy="write it in UTF-8") from error


def parsed(document: str) -> Request:
    """A request from its JSON.

    Raises:
        InputError: it is no JSON, or no request; for an unknown name the nearest one is suggested.
    """
    check_text(document)
    try:
        return Request.model_validate_json(document)
    except ValidationError as error:
        problem = error.errors()[0]
        place = problem["loc"]
        if problem["type"] == "extra_forbidden" and len(place) == 1:
            raise _unknown(str(place[0]), "a request", Request.model_fields) from error
        item = problem["input"]
        if len(place) > 1 and isinstance(item, dict):  # an object of the history
            known = [*ByTitle.model_fields, *ById.model_fields]
            for name in item:
                if name not in known:
                    where = f"item {int(place[1]) + 1}"
                    raise _unknown(name, "an item of a history", known, where) from error
        named = f"{place[0]}: " if place else ""
        raise InputError(
            f"is no request ({named}{problem['msg']})",
            remedy='write {"user_id": "ID", "history": ["ID", {"title": "..."}]}',
        ) from error


def _unknown(name: str, of: str, known: Iterable[str], where: str | None = None) -> InputError:
    """The error for an unknown name, with the nearest known one."""
    return InputError(
        f"{name!r} is no part of {of}",
        where=where,
        remedy=did_you_mean(name, known, f"known: {', '.join(known)}"),
    )
