"""Background work. Every error in it becomes a message; none ends the explorer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from textual import work
from textual.worker import Worker

from miracle_core.errors import MiracleError
from tui.engine import Stopped


class Hears(Protocol):
    """An object that runs background work, and that is told when the work fails."""

    def failed(self, error: MiracleError) -> None:
        """Show the error to the user."""


S = TypeVar("S", bound=Hears)
P = ParamSpec("P")


def background(
    group: str, *, exclusive: bool = True
) -> Callable[
    [Callable[Concatenate[S, P], Awaitable[None]]], Callable[Concatenate[S, P], Worker[None]]
]:
    """Turn a method of a screen or of the application into a Textual worker.

    Errors that the method raises are passed to the object's ``failed``.
    :class:`~tui.engine.Stopped` is ignored: it only means that the run is being closed.

    Args:
        group: the kind of work.
        exclusive: whether a new call cancels work of the same kind that the object is still doing.
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

        # By default Textual's description contains the arguments, which may include all users.
        worker: Any = work(guarded, group=group, exclusive=exclusive, description=method.__name__)
        return worker  # type: ignore[no-any-return]

    return decorate


def as_told(error: Exception) -> MiracleError:
    """Convert any error to one with a readable message."""
    if isinstance(error, MiracleError):
        return error
    if isinstance(error, OSError):
        where = None if error.filename is None else str(error.filename)
        return MiracleError(error.strerror or str(error), where=where)
    return MiracleError(f"a bug: {type(error).__name__}: {error}", remedy="report it")
