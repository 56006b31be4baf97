"""How much the person is told: ``--quiet``, and ``--log-file``.

What a command tells on stderr goes through :func:`log` too. Results on stdout have no part in this.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from miracle_core.errors import InputError, command
from miracle_core.version import __version__

if TYPE_CHECKING:
    import typer


@dataclass
class _State:
    """What holds for the command under way."""

    args: Sequence[str] = ()
    quiet: bool = False
    muted: bool = False
    file: int | None = None
    began: float = field(default_factory=time.monotonic)
    warn: Callable[..., None] | None = None


_now = _State()


def start(args: Sequence[str], muted: bool = False) -> None:
    """Before a command: everything is told, and nothing is logged.

    Args:
        args: the command line.
        muted: another process of the same training writes the log.
    """
    global _now
    _now = _State(args, muted=muted)


def choose(quiet: bool, log_file: Path | None) -> None:
    """Do as the command's options say.

    Raises:
        InputError: the log can't be written.
    """
    _now.quiet = quiet
    if log_file is None:
        return
    try:
        _now.file = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise InputError(
            f"can't be written: {error.strerror or error}",
            where=f"--log-file {log_file}",
            remedy="name a file in a folder that you may write to",
        ) from error
    log(f"miracle {__version__}: {command('miracle', *_now.args)}")
    _now.warn, warnings.showwarning = warnings.showwarning, _warned


def end(code: int) -> None:
    """After a command: its exit code, and the log is closed."""
    if _now.warn is not None:
        warnings.showwarning = _now.warn
    if _now.file is not None:
        log(f"ended with code {code} after {time.monotonic() - _now.began:.1f} s")
        os.close(_now.file)
    start(())


def unmute() -> None:
    """Let this process write to the log: it tells of an error that the first one doesn't have."""
    _now.muted = False


def is_quiet() -> bool:
    """Whether errors alone are told."""
    return _now.quiet


def draws() -> bool:
    """Whether stderr takes a display that stays in place."""
    return sys.stderr.isatty() and not _now.quiet


def log(text: str) -> None:
    """Write lines to the log file, if there is one, each with the time.

    Straight to the file, so that a signal's handler may log as well. A log that can't be written
    any more doesn't end the work.
    """
    from miracle_cli.output import plain

    if _now.file is None or _now.muted:
        return
    when = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    lines = "".join(f"{when}  {plain(line).rstrip()}\n" for line in text.splitlines() or [""])
    with contextlib.suppress(OSError):
        os.write(_now.file, lines.encode(errors="replace"))


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A library's warning: logged, and shown as before."""
    log(f"{category.__name__}: {message} ({filename}:{lineno})")
    if _now.warn is not None:
        _now.warn(message, category, filename, lineno, file, line)


def add_options(app: typer.Typer) -> typer.Typer:
    """Give every command of an app the options ``--quiet`` and ``--log-file``."""
    from miracle_cli.arguments import wrap_commands

    return wrap_commands(app, "_has_verbosity", _with_options)


def _with_options(run: Callable[..., Any]) -> Callable[..., Any]:
    import typer

    added = {
        "quiet": Annotated[
            bool,
            typer.Option("--quiet", "-q", help="Tell nothing on stderr but errors."),
        ],
        "log_file": Annotated[
            Path | None,
            typer.Option(
                metavar="FILE", help="Add to FILE, with times, what is told on stderr otherwise."
            ),
        ],
    }
    defaults: dict[str, Any] = {"quiet": False, "log_file": None}

    @functools.wraps(run)
    def called(*args: Any, quiet: bool, log_file: Path | None, **kwargs: Any) -> Any:
        choose(quiet, log_file)
        return run(*args, **kwargs)

    own = inspect.signature(run, eval_str=True)
    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind
        )
        for name, kind in added.items()
    ]
    # Typer reads the signature; of annotations it reads what the signature doesn't say.
    signature = own.replace(parameters=[*own.parameters.values(), *parameters])
    called.__signature__ = signature  # type: ignore[attr-defined]
    called.__annotations__ = {**run.__annotations__, **added}
    return called
