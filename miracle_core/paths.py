"""Paths as people type them, and paths that stay valid when folders are moved."""

from __future__ import annotations

import os
from pathlib import Path

from miracle_core.errors import InputError


def as_path(value: str | Path) -> Path:
    """A path that a person named: text or a ``Path``, a leading ``~`` read as the home folder.

    Raises:
        InputError: the name is not UTF-8, so neither JSON nor TOML can hold it.
    """
    text = os.fspath(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(text).decode("utf-8", "backslashreplace")
        raise InputError(
            "has a name that is not UTF-8", where=shown, remedy="rename the file or folder"
        ) from error
    return Path(text).expanduser() if text.startswith("~") else Path(text)


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
    """The absolute path of one that :func:`portable` wrote, or of an absolute one in older runs."""
    return str((folder.resolve() / Path(value).expanduser()).resolve())
