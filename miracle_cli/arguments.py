"""What was typed, before a command sees it: text that is UTF-8, and ``~`` as the home folder."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from miracle_core.errors import InputError
from miracle_core.paths import as_path

_DONE = "_paths_are_read"


def check_text(args: Sequence[str]) -> None:
    """Refuse an argument whose bytes are not UTF-8, such as a file's name in an older encoding.

    Raises:
        InputError: the first of them.
    """
    for arg in args:
        try:
            arg.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(arg).decode("utf-8", "backslashreplace")
            raise InputError(
                "is not UTF-8 text", where=shown, remedy="if it is a file or folder, rename it"
            ) from error


def read_paths(app: typer.Typer) -> typer.Typer:
    """Let each command of an app get its paths with ``~`` read (a shell leaves ``--out=~/x``)."""
    for info in app.registered_commands:
        if info.callback is not None and not hasattr(info.callback, _DONE):
            info.callback = _with_paths(info.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            read_paths(group.typer_instance)
    return app


def _with_paths(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def called(*args: Any, **kwargs: Any) -> Any:
        return command(*args, **{name: _read(value) for name, value in kwargs.items()})

    setattr(called, _DONE, True)
    return called


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(each) for each in value]
    return as_path(value) if isinstance(value, Path) else value
