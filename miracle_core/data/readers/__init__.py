"""Readers: the files of one kind of source in, :class:`Interactions` out."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from miracle_core.data.readers.options import ReadOptions
from miracle_core.errors import InputError
from miracle_core.progress import SILENT, Progress

if TYPE_CHECKING:
    from miracle_core.data.interactions import Interactions

__all__ = ["FORMATS", "ReadOptions", "read"]

# A reader is a module with read(paths, options, progress) -> Interactions.
FORMATS = {
    "atomic": "miracle_core.data.readers.atomic",
    "table": "miracle_core.data.readers.table",
}


def read(
    format: str,
    paths: Sequence[str | Path],
    options: ReadOptions | None = None,
    progress: Progress = SILENT,
) -> Interactions:
    """Read raw files.

    Args:
        format: a key of :data:`FORMATS`.
        paths: the files, or a folder where the format allows one.
        options: how to read them; None takes the defaults.
        progress: hears of each file.

    Raises:
        InputError: an unknown format, or anything in the files that can't be read, with its place.
    """
    if format not in FORMATS:
        raise InputError(
            f"is no format this program reads (it reads: {', '.join(sorted(FORMATS))})",
            where=f"--format {format}",
            remedy="name one of them",
        )
    if not paths:
        raise InputError("no source is given", remedy="name the raw files or their folder")
    reader = import_module(FORMATS[format])
    found = reader.read([Path(path) for path in paths], options or ReadOptions(), progress)
    return cast("Interactions", found)
