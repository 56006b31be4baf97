"""Readers: the files of one kind of source in, :class:`Interactions` out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.recipes import check_recipe
from miracle_core.errors import InputError
from miracle_core.paths import as_path
from miracle_core.progress import SILENT, Progress

if TYPE_CHECKING:
    from miracle_core.data.interactions import Interactions

__all__ = ["FORMATS", "ReadOptions", "read"]

# A reader is a module with read(paths, options, progress) -> Interactions.
FORMATS = {
    "amazon2018": "miracle_core.data.readers.amazon2018",
    "amazon2023": "miracle_core.data.readers.amazon2023",
    "atomic": "miracle_core.data.readers.atomic",
    "movielens": "miracle_core.data.readers.movielens",
    "online-retail": "miracle_core.data.readers.online_retail",
    "steam": "miracle_core.data.readers.steam",
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
        format: a key of :data:`FORMATS`, or ``auto``: found by looking into the files.
        paths: the files, or a folder where the format allows one.
        options: how to read them; None takes the defaults.
        progress: shows each file.

    Raises:
        InputError: an unknown format, or anything in the files that can't be read, with its place.
    """
    if format not in FORMATS and format != "auto":
        raise InputError(
            f"is not a format this program reads (it reads: auto, {', '.join(sorted(FORMATS))})",
            where=f"--format {format}",
            remedy="name one of them",
        )
    if not paths:
        raise InputError("no source is given", remedy="name the raw files or their folder")
    files, options = [as_path(path) for path in paths], options or ReadOptions()
    if options.separator is not None:
        from miracle_core.data.readers.separators import separator_named

        separator_named(options.separator)
    looked = format == "auto"
    if looked:
        from miracle_core.data.readers.detect import detect

        format = detect(files, options)
    if options.recipe:
        check_recipe(options.recipe, format)
    found = cast("Interactions", import_module(FORMATS[format]).read(files, options, progress))
    notes = (f"read as {format} (--format says otherwise)",) if looked else ()
    return replace(found, notes=(*notes, *found.notes))
