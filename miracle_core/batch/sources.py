"""Who is to be answered: all users of the data, a file of ids, or JSON requests.

A source gives *parts* of :data:`PART` requests. Which requests are in a part depends on the source
alone. So a part has the same answer whichever process makes it, and after any interruption.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import numpy as np

from miracle_core.batch.requests import Request, check_text, parsed
from miracle_core.errors import InputError
from miracle_core.files import sha256_file
from miracle_core.paths import as_path
from miracle_core.recommender.given import Known
from miracle_core.recommender.histories import Histories

if TYPE_CHECKING:
    from miracle_core.recommender import Recommender

PART = 4096
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """A request that can't be answered.

    Attributes:
        where: the request's place.
        what: what is wrong.
        remedy: how to fix it.
    """

    where: str
    what: str
    remedy: str | None

    @classmethod
    def of(cls, error: InputError, where: str) -> Problem:
        """From the error that it raised."""
        place = f"{where}, {error.where}" if error.where else where
        return cls(place, error.what, error.remedy)

    def error(self) -> InputError:
        """The problem as an error."""
        return InputError(self.what, where=self.where, remedy=self.remedy)


@dataclass(frozen=True)
class Part:
    """Some requests, looked up.

    Attributes:
        number: from 0.
        user_ids: the users of the requests that can be answered.
        histories: their histories, in the same order.
        problems: the requests that can't be answered.
        size: how many requests the part has, the bad ones included.
    """

    number: int
    user_ids: tuple[str, ...]
    histories: Histories
    problems: tuple[Problem, ...]
    size: int


@dataclass(frozen=True)
class Source:
    """Where requests come from.

    Attributes:
        key: changes with the requests; None if they can be read only once.
        total: how many requests there are; None if that is not known.
        parts: gives the parts in order, without those whose number the caller doesn't want.
    """

    key: str | None
    total: int | None
    parts: Callable[[Callable[[int], bool]], Iterator[Part]]


def all_users(recommender: Recommender) -> Source:
    """Every user of the data with the whole history up to now, in index order."""

    def parts(wanted: Callable[[int], bool]) -> Iterator[Part]:
        n_users = recommender.n_users
        for number, start in enumerate(range(0, n_users, PART)):
            if wanted(number):
                users = np.arange(start, min(start + PART, n_users))
                yield _of_users(recommender, number, users, (), len(users))

    return Source("all users", recommender.n_users, parts)


def named_users(recommender: Recommender, path: str | Path) -> Source:
    """The users of a file, one id a line, each with the whole history up to now.

    Raises:
        InputError: the file can't be read, or holds no id.
    """
    path = as_path(path)
    lines = list(_lines(_opened(path)))
    if not lines:
        raise InputError("holds no user id", where=str(path), remedy="write one id a line")

    def parts(wanted: Callable[[int], bool]) -> Iterator[Part]:
        given: set[str] = set()
        for number, chosen in enumerate(_batched(lines, PART)):
            users, problems = [], []
            for place, user_id in chosen:
                try:
                    check_text(user_id)
                    if user_id in given:
                        raise InputError(f"user {user_id!r} is named twice", remedy="name it once")
                    given.add(user_id)
                    if wanted(number):
                        users.append(recommender.user(user_id))
                except InputError as error:
                    problems.append(Problem.of(_without_place(error), f"{path}:{place}"))
            if wanted(number):
                found = np.array(users, dtype=np.int64)
                yield _of_users(recommender, number, found, problems, len(chosen))

    return Source(f"users {sha256_file(path)}", len(lines), parts)


def json_requests(
    recommender: Recommender, path: str | Path | None, stream: TextIO | None = None
) -> Source:
    """Requests as JSON, one a line, or as one JSON document (an object, or a list of them).

    Each is ``{"user_id": ..., "history": [...]}`` (:class:`~miracle_core.batch.requests.Request`).

    Args:
        recommender: whose users and items are named.
        path: the file; None reads ``stream``.
        stream: text, read once, line by line. If it was opened with ``errors="surrogateescape"``, a
            line that is not UTF-8 is a bad request; otherwise it is an error of the whole source.

    Raises:
        InputError: the file can't be read.
    """
    if path is not None:
        path = as_path(path)
        _opened(path).close()

    def parts(wanted: Callable[[int], bool]) -> Iterator[Part]:
        text = stream if path is None else _opened(path)
        name = "standard input" if path is None else str(path)
        assert text is not None
        users = _Users(recommender)
        for number, chosen in enumerate(_batched(_documents(name, text), PART)):
            # Another process's part names users, too.
            here = wanted(number)
            requests = [users.asked(document, here) for document in chosen]
            if here:
                yield _of_requests(recommender, number, requests)

    key = None if path is None else f"requests {sha256_file(path)}"
    return Source(key, None, parts)


def _opened(path: Path) -> TextIO:
    try:
        # Text from Windows begins with a mark. A line of bytes that are no text is a bad request.
        return path.open(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from error


def _lines(text: TextIO) -> Iterator[tuple[int, str]]:
    """The lines that hold something, with their numbers from 1."""
    for place, line in enumerate(text, start=1):
        if line.strip():
            yield place, line.strip()


def _documents(name: str, text: TextIO) -> Iterator[tuple[str, str, str]]:
    """Each request's place, its number (a line's, or a place in the list), and its JSON."""
    lines = _lines(text)
    first = next(lines, None)
    nothing = InputError("holds no request", where=name, remedy='write {"history": ["ID"]}')
    if first is None:
        raise nothing
    every: Iterable[tuple[int, str]] = chain([first], lines)
    if not _is_json(first[1]) or first[1].startswith("["):
        every = list(every)
        try:
            found = _loads("\n".join(line for _, line in every))
        except (json.JSONDecodeError, RecursionError):
            pass  # these are lines after all, and the first is damaged: each is read by itself
        else:
            several = found if isinstance(found, list) else [found]
            if not several:
                raise nothing
            for place, document in enumerate(several, start=1):
                yield f"{name}, request {place}", str(place), json.dumps(document)
            return
    yield from ((f"{name}:{place}", str(place), line) for place, line in every)


def _loads(text: str) -> Any:
    """JSON. No number is right in a request, so one of any length is read, and told later."""
    return json.loads(text, parse_int=float)


def _is_json(line: str) -> bool:
    try:
        _loads(line)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


def _of_users(
    recommender: Recommender,
    number: int,
    users: np.ndarray,
    problems: Sequence[Problem],
    size: int,
) -> Part:
    dataset = recommender.dataset
    ids = dataset.users["user_id"].gather(users)
    having = dataset.offsets[users + 1] > dataset.offsets[users]
    empty = [
        Problem(f"user {user_id!r}", "has no item in the data", None)
        for user_id in ids.filter(~having)
    ]
    return Part(
        number,
        tuple(ids.filter(having)),
        Histories.of_users(dataset, users[having]),
        (*problems, *empty),
        size,
    )


@dataclass(frozen=True)
class _Asked:
    """A request that was read.

    Attributes:
        where: its place.
        user_id: whose list it is.
        history: its items, or what is wrong with it.
    """

    where: str
    user_id: str
    history: Sequence[Known] | InputError


class _Users:
    """Remembers the users who have a request that can be answered, so that none has two.

    To look up a title takes a search of the catalogue, or an encoder if it is new. If another
    process answers a request, its titles are looked up here only if the same user comes again.

    Args:
        recommender: whose users and items are named.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        # None: the user's request can be answered. A request: it has not been looked up.
        self._given: dict[str, Request | None] = {}

    def asked(self, document: tuple[str, str, str], wanted: bool) -> _Asked:
        """Read a request; if it can be answered, remember its user.

        Args:
            document: the place, the number and the JSON of a request.
            wanted: whether it is answered here; the history is empty where it isn't looked up.
        """
        where, user_id, text = document
        try:
            request = parsed(text)
            if request.user_id is not None:
                user_id = request.user_id
            if self._has(user_id):
                raise InputError(
                    f"user {user_id!r} is named twice",
                    remedy="name it once; two histories of one user need two names",
                )
            return _Asked(where, user_id, self._history(user_id, request, wanted))
        except InputError as error:
            return _Asked(where, user_id, error)

    def _has(self, user_id: str) -> bool:
        earlier = self._given.get(user_id)
        if earlier is not None:
            del self._given[user_id]
            with contextlib.suppress(InputError):
                self._history(user_id, earlier, wanted=True)
        return user_id in self._given

    def _history(self, user_id: str, request: Request, wanted: bool) -> Sequence[Known]:
        if not wanted and request.by_title:
            self._given[user_id] = request
            return ()
        history = request.history_in(self._recommender)
        self._given[user_id] = None
        return history


def _of_requests(recommender: Recommender, number: int, requests: Sequence[_Asked]) -> Part:
    ids: list[str] = []
    histories: list[Sequence[Known]] = []
    problems: list[Problem] = []
    for asked in requests:
        if isinstance(asked.history, InputError):
            problems.append(Problem.of(_without_place(asked.history), asked.where))
        else:
            ids.append(asked.user_id)
            histories.append(asked.history)
    found = Histories.of_lists(histories, recommender.n_items)
    return Part(number, tuple(ids), found, tuple(problems), len(requests))


def _without_place(error: InputError) -> InputError:
    """The same error without the Dataset's folder: the request's own place says more."""
    inside = error.where is not None and error.where.startswith("item ")
    return InputError(error.what, where=error.where if inside else None, remedy=error.remedy)


def _batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` values; only one of them is in memory at a time."""
    each = iter(values)
    while chosen := list(islice(each, size)):
        yield chosen
