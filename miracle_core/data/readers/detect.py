"""Which format files are in, found by looking into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from miracle_core.data.readers import (
    amazon2018,
    amazon2023,
    movielens,
    online_retail,
    steam,
    table,
)
from miracle_core.data.readers.delimited import listed, read_header, require_file
from miracle_core.data.readers.json_first import first_objects, no_objects
from miracle_core.data.readers.opening import RawFile, expand
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.separators import layout_of, refuse_wrong_separator
from miracle_core.errors import InputError

_FORMS = (
    ("amazon2023", amazon2023.FORM),
    ("amazon2018", amazon2018.FORM),
    ("steam", steam.FORM),
)


def detect(paths: Sequence[Path], options: ReadOptions) -> str:
    """The format of files, given as files, folders or archives.

    Raises:
        InputError: files of no format or of several, or one that can't be read.
    """
    where = ", ".join(map(str, paths))
    files = expand(paths)
    if not files:
        raise InputError("holds no files", where=where, remedy="name the files to read")
    found, unread = [], []
    for raw in files:
        try:
            format = _one(raw, options)
        except InputError as error:  # raised below if no other file can be read, either
            unread.append(error)
        else:
            found += [format] if format else []
    if not found:
        if unread:
            raise unread[0]
        raise InputError(
            "is in no format that can be told by looking",
            where=where,
            remedy="name it with --format; --format table reads any table",
        )
    formats = sorted(set(found))
    if len(formats) > 1:
        raise InputError(
            f"holds files of several formats: {', '.join(formats)}",
            where=where,
            remedy="name the files of one data set, or the right --format",
        )
    return formats[0]


def _one(raw: RawFile, options: ReadOptions) -> str | None:
    """The format of one file; None where it can't be told.

    Raises:
        InputError: a file of text that can't be read as what it seems to be.
    """
    if raw.name.endswith(".inter"):
        return "atomic"
    if raw.name in movielens.LAYOUTS:
        return "movielens"
    if raw.suffix == ".xlsx":
        return "online-retail"
    if raw.suffix in (".parquet", ".pq"):
        return "table"
    require_file(raw)
    objects = first_objects(raw)
    for name, form in _FORMS:
        if form.match(objects):
            return name
    if (why := no_objects(raw)) is not None:
        raise why
    if amazon2018.looks_like_ratings(raw):
        return "amazon2018"
    if raw.suffix not in table.LAYOUTS:
        return None
    # Names of columns only: the reader looks closer.
    usual = replace(table.LAYOUTS[raw.suffix], quoted=True, encoding="latin-1")
    layout = layout_of(raw, usual, options.separator)
    header, place = read_header(raw, layout)
    if online_retail.known_header(header):
        return "online-retail"
    if header[:4] == list(amazon2023.RATINGS_HEADER):
        return "amazon2023"
    for column in (options.user, "InvoiceNo"):
        refuse_wrong_separator(header, column, place)
    if {options.user, options.item} <= set(header):
        return "table"
    missing = next(name for name in (options.user, options.item) if name not in header)
    raise InputError(
        f"has no column {missing!r} (it has: {listed(header)})",
        where=place,
        remedy="say which columns hold users and items with --format table --user-column NAME "
        "--item-column NAME; or name another --format",
    )
