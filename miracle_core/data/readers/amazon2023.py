"""The Amazon reviews of 2023: reviews as JSON lines or ratings as CSV, and meta files.

reviews    NAME.jsonl: user_id, parent_asin, rating, timestamp (milliseconds)
ratings    NAME.csv with a header: user_id, parent_asin, rating, timestamp
items      meta_NAME.jsonl: parent_asin, title, categories, store
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers.delimited import read_header, read_rows
from miracle_core.data.readers.json_first import first_objects
from miracle_core.data.readers.lines import Layout
from miracle_core.data.readers.opening import RawFile, expand
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.release import Form, Sorted, joined, read_form
from miracle_core.data.readers.tables import Table
from miracle_core.data.readers.times import parse_numbers
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from miracle_core.progress import Progress, stage

FORM = Form(
    events={
        "user_id": ("user_id",),
        "item_id": ("parent_asin",),
        "time": ("timestamp",),
        "rating": ("rating",),
    },
    items={
        "item_id": ("parent_asin",),
        "title": ("title",),
        "categories": ("categories",),
        "brand": ("store",),
    },
    kinds={"timestamp": "whole", "rating": "number", "categories": "texts"},
)
RATINGS_HEADER = ("user_id", "parent_asin", "rating", "timestamp")
_RATINGS = Layout(",", quoted=False)


def read(paths: Sequence[Path], options: ReadOptions, progress: Progress) -> Interactions:
    """Read reviews or ratings, and the items of meta files.

    Raises:
        InputError: files missing, or anything in them that can't be read, with its place.
    """
    options.refuse_all_but("amazon2023", "items")
    skips = Skips(options.on_error == "skip")
    found = Sorted()
    for raw in expand([*paths, *([options.items] if options.items else [])]):
        kind = FORM.match(first_objects(raw))
        header = [] if kind else header_of(raw)
        if kind is None and header[:4] != list(RATINGS_HEADER):
            found.pass_over(raw, FORM)
            continue
        with stage(progress, f"reading {raw.name}", unit="rows"):
            if kind is None:
                table = _ratings(raw, header, options, skips, progress)
            else:
                table = read_form(raw, kind, FORM, options, skips, progress)
        (found.items if kind == "items" else found.events).append(table)
        found.used.append(raw)
    return joined(found, "amazon2023", paths, options, skips, progress)


def header_of(raw: RawFile) -> list[str]:
    """The header of a CSV file; empty for a file that has none we can read."""
    try:
        return read_header(raw, _RATINGS)[0]
    except InputError:
        return []


def _ratings(
    raw: RawFile, header: Sequence[str], options: ReadOptions, skips: Skips, progress: Progress
) -> Table:
    wanted = ["user_id", "parent_asin", "timestamp"]
    wanted += ["rating"] if options.with_ratings else []
    table = read_rows(raw, _RATINGS, header, wanted=wanted, skips=skips, progress=progress)
    rows = table.rows.rename({"parent_asin": "item_id", "timestamp": "time"})
    if options.with_ratings:
        rows = rows.with_columns(parse_numbers(rows["rating"], "rating", table.place, skips))
    return replace(table, rows=rows)
