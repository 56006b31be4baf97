"""Paths as people type them, and paths that stay valid when folders are moved."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from miracle_core.errors import InputError


def as_path(value: str | Path) -> Path:
    """A path that a person named: text or a ``Path``, a leading ``~`` read as the home folder.

    Raises:
        InputError: the name is not UTF-8, so neither JSON nor TOML can hold it; or the system can't
            follow it: it is a link that leads back to itself, or too long.
    """
    text = os.fspath(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(text).decode("utf-8", "backslashreplace")
        raise InputError(
            "has a name that is not UTF-8", where=shown, remedy="rename the file or folder"
        ) from error
    path = Path(text).expanduser() if text.startswith("~") else Path(text)
    _check_followed(path)
    return path


def _check_followed(path: Path) -> None:
    """Refuse a path that the system can't follow, whatever it is to be used for.

    Otherwise such a link is "missing" to some calls, and to others an error of their own.
    """
    try:
        path.stat()
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        if number == errno.ELOOP:
            raise InputError(
                "is a link that leads back to itself",
                where=str(path),
                remedy="name another path, or make the link again",
            ) from error
        if number == errno.ENAMETOOLONG:
            raise InputError(
                "is longer than the system allows", where=str(path), remedy="name another path"
            ) from error


def cache_folder() -> Path:
    """``MIRACLE_CACHE``, else ``miracle`` in ``XDG_CACHE_HOME``, else ``~/.cache/miracle``."""
    named = os.environ.get("MIRACLE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "miracle"


def portable(value: str | Path, folder: Path) -> str:
    """A path for a file in ``folder``: relative to the folder, with ``/``.

    So the folder and the path's target can be moved together, and the file does not show where they
    were.
    """
    path = Path(value).resolve()
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive, on Windows
        return path.as_posix()


def from_portable(value: str, folder: Path) -> str:
    """The absolute path of one that :func:`portable` wrote, or of an absolute one in older runs.

    Raises:
        InputError: the system can't follow it, see :func:`as_path`.
    """
    path = folder.resolve() / Path(value).expanduser()
    _check_followed(path)
    return str(path.resolve())
