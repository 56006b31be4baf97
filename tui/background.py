"""Work beside the interface whose every error becomes a message: none ends the explorer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from textual import work
from textual.worker import Worker

from miracle_core.errors import MiracleError
from tui.engine import Stopped


class Hears(Protocol):
    """What has work done."""

    def failed(self, error: MiracleError) -> None:
        """Tell the person."""


S = TypeVar("S", bound=Hears)
P = ParamSpec("P")


def background(
    group: str, *, exclusive: bool = True
) -> Callable[
    [Callable[Concatenate[S, P], Awaitable[None]]], Callable[Concatenate[S, P], Worker[None]]
]:
    """Turn a method of a screen or of the application into a Textual worker.

    Whatever it raises is told by the object's ``failed``; that the explorer is being closed
    (:class:`~tui.engine.Stopped`) is not.

    Args:
        group: its kind of work.
        exclusive: whether it replaces the work of its kind under way on the same object.
    """

    def decorate(
        method: Callable[Concatenate[S, P], Awaitable[None]],
    ) -> Callable[Concatenate[S, P], Worker[None]]:
        @wraps(method)
        async def guarded(self: S, *args: P.args, **kwargs: P.kwargs) -> None:
            try:
                await method(self, *args, **kwargs)
            except Stopped:
                return
            except Exception as error:
                self.failed(as_told(error))

        # Textual would describe it by its arguments, and the order of all users is one of them.
        worker: Any = work(guarded, group=group, exclusive=exclusive, description=method.__name__)
        return worker  # type: ignore[no-any-return]

    return decorate


def as_told(error: Exception) -> MiracleError:
    """Any error as one that a person is meant to read."""
    if isinstance(error, MiracleError):
        return error
    if isinstance(error, OSError):
        where = None if error.filename is None else str(error.filename)
        return MiracleError(error.strerror or str(error), where=where)
    return MiracleError(f"a bug: {type(error).__name__}: {error}", remedy="report it")
