"""Which format files are in, told by what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from miracle_core.data.readers import amazon2018, amazon2023, movielens, online_retail, steam
from miracle_core.data.readers.delimited import read_header
from miracle_core.data.readers.json_lines import first_object
from miracle_core.data.readers.lines import Layout
from miracle_core.data.readers.opening import RawFile, expand
from miracle_core.data.readers.options import ReadOptions
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
    found = [format for raw in files if (format := _one(raw, options))]
    if not found:
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
    if raw.name.endswith(".inter"):
        return "atomic"
    if raw.name in movielens.LAYOUTS:
        return "movielens"
    if raw.suffix == ".xlsx":
        return "online-retail"
    if raw.suffix in (".parquet", ".pq"):
        return "table"
    if (found := first_object(raw)) is not None:
        return next((name for name, form in _FORMS if form.match(found)), None)
    if amazon2018.looks_like_ratings(raw):
        return "amazon2018"
    if raw.suffix not in (".csv", ".tsv", ".tab", ".txt"):
        return None
    separator = "," if raw.suffix == ".csv" else "\t"
    encoding = "latin-1"  # names of columns only; the reader looks closer
    try:
        header = read_header(raw, Layout(separator, quoted=True, encoding=encoding))[0]
    except InputError:
        return None
    if online_retail.known_header(header):
        return "online-retail"
    if header[:4] == list(amazon2023.RATINGS_HEADER):
        return "amazon2023"
    return "table" if {options.user, options.item} <= set(header) else None
