"""How the core reports progress without knowing how it is shown.

The command line draws bars from these calls, a notebook may print them, tests ignore them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Receives the progress of one piece of work after another."""

    def start(self, what: str, total: int | None, unit: str) -> None:
        """Begin a piece of work of ``total`` units (None: not known)."""

    def advance(self, amount: int) -> None:
        """``amount`` more units are done."""

    def finish(self) -> None:
        """The piece of work begun last has ended, well or not."""


class Silent:
    """Shows nothing: the default everywhere."""

    def start(self, what: str, total: int | None, unit: str) -> None:
        """Say nothing."""

    def advance(self, amount: int) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""


SILENT = Silent()


@contextmanager
def stage(
    progress: Progress, what: str, total: int | None = None, unit: str = ""
) -> Iterator[Progress]:
    """Announce a piece of work for the length of a ``with`` block, also when it fails."""
    progress.start(what, total, unit)
    try:
        yield progress
    finally:
        progress.finish()
