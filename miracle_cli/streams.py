"""Standard input, output and errors, whatever they were when the program was started."""

from __future__ import annotations

import contextlib
import io
import os
import sys


def open_streams() -> None:
    """See that all three are there and that no character can't be written.

    A closed one (``>&-``) leads nowhere from now on; otherwise the next file that is opened would
    take its number, and what is printed would end up in it. A character that the output's encoding
    lacks is written as ``?``.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")


def let_go() -> None:
    """Before the program ends: what can't be written any more is dropped, not complained about.

    Python would flush once more on its way out, and change the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
