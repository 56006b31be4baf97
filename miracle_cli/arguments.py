"""What was typed, before a command sees it: UTF-8 text, each option once, ``~`` as the home."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from miracle_core.errors import InputError
from miracle_core.paths import as_path


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


def wrap_commands(
    app: typer.Typer, mark: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> typer.Typer:
    """Wrap the function of every command of an app, once however often it is asked.

    Args:
        app: its commands, and those of its groups.
        mark: the name of what tells that a function is wrapped.
        wrap: makes the new function of the old one.
    """
    for info in app.registered_commands:
        if info.callback is not None and not hasattr(info.callback, mark):
            info.callback = wrap(info.callback)
            setattr(info.callback, mark, True)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            wrap_commands(group.typer_instance, mark, wrap)
    return app


def read_paths(app: typer.Typer) -> typer.Typer:
    """Let each command of an app get its paths with ``~`` read (a shell leaves ``--out=~/x``)."""
    return wrap_commands(app, "_paths_are_read", _with_paths)


def once(command: Any) -> Any:
    """Let a command refuse an option that is given twice; of two values the first would be lost.

    Args:
        command: as typer makes it; the commands of a group are told, too.
    """
    for each in getattr(command, "commands", {}).values():
        once(each)
    parse: Callable[[Any, list[str]], list[str]] = command.parse_args

    def parse_args(ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:  # completion looks at what is half typed
            _, _, order = command.make_parser(ctx).parse_args(args=list(args))
            _refuse_repeated(order)
        return parse(ctx, args)

    command.parse_args = parse_args
    return command


def _refuse_repeated(order: Sequence[Any]) -> None:
    seen = set()
    for option in order:
        takes_one = option.param_type_name == "option" and not option.is_flag
        if takes_one and not option.multiple and option.name in seen:
            raise InputError(
                "is given twice, and takes one value",
                where=max(option.opts, key=len),
                remedy="give it once",
            )
        seen.add(option.name)


def _with_paths(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def called(*args: Any, **kwargs: Any) -> Any:
        return command(*args, **{name: _read(value) for name, value in kwargs.items()})

    return called


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(each) for each in value]
    return as_path(value) if isinstance(value, Path) else value
