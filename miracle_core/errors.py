"""The errors a person is meant to read.

Every error says what was wrong, where, and how to fix it. The command line prints these three
lines and exits with :attr:`MiracleError.exit_code`; a notebook sees an ordinary exception.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable


class MiracleError(Exception):
    """A failed run: something outside the input went wrong (exit code 1).

    Args:
        what: one sentence saying what was wrong.
        where: the place: a file, ``file:line``, ``file:line:column``, an id or a setting's name.
        remedy: how to fix it, as an instruction.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        fix = f" ({self.remedy})" if self.remedy else ""
        return f"{place}{self.what}{fix}"


class InputError(MiracleError):
    """What the person gave can't be used: a file, an option, a setting (exit code 2)."""

    exit_code = 2


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy for an unknown name: the nearest known one if one is near, or else ``otherwise``."""
    near = nearest(name, known)
    return otherwise if near is None else f"did you mean {near}?"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like another one; None if none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def command(*words: object) -> str:
    """A command line to copy: its words as they are, quoted where a shell would split them."""
    return shlex.join(map(str, words))


class OtherProcessError(MiracleError):
    """Another process of the same training failed; its own error says why."""
