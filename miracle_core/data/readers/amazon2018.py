"""The Amazon reviews of 2014 and 2018: ratings as CSV or reviews as JSON lines, and meta files.

ratings    NAME.csv: user, item, rating, time without a header; some releases put the item first
reviews    NAME.json, NAME_5.json: reviewerID, asin, overall, unixReviewTime
items      meta_NAME.json: asin, title, category (categories), brand
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers.delimited import read_rows
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
        "user_id": ("reviewerID",),
        "item_id": ("asin",),
        "time": ("unixReviewTime",),
        "rating": ("overall",),
    },
    items={
        "item_id": ("asin",),
        "title": ("title",),
        "categories": ("category", "categories"),
        "brand": ("brand",),
    },
    kinds={
        "unixReviewTime": "whole",
        "overall": "number",
        "category": "texts",
        "categories": "texts",
        "title": "texts",
        "brand": "texts",
    },
)
_RATINGS = Layout(",", quoted=False)
_COLUMNS = {
    "user-first": ("user_id", "item_id", "rating", "time"),
    "item-first": ("item_id", "user_id", "rating", "time"),
}
_ASIN = r"^(B[0-9A-Z]{9}|\d{9}[\dX])$"
_SAMPLE = 1 << 16
_IDS, _TIME = ("user_id", "item_id"), ("time",)


def read(paths: Sequence[Path], options: ReadOptions, progress: Progress) -> Interactions:
    """Read ratings or reviews, and the items of meta files.

    Raises:
        InputError: files missing, or anything in them that can't be read, with its place.
    """
    options.refuse_all_but("amazon2018", "order", "items", "recipe")
    if options.recipe:
        options = options.model_copy(update={"with_ratings": True})
    skips = Skips(options.on_error == "skip")
    found = Sorted()
    for raw in expand([*paths, *([options.items] if options.items else [])]):
        kind = FORM.match(first_objects(raw))
        if kind is None and not looks_like_ratings(raw):
            found.pass_over(raw, FORM)
            continue
        with stage(progress, f"reading {raw.name}", unit="rows"):
            if kind is None:
                table, order = read_ratings(raw, options, skips, progress)
                found.notes.append(f"{raw.name}: ratings, {order.replace('-', ' ')}")
            else:
                table = read_form(raw, kind, FORM, options, skips, progress)
        (found.items if kind == "items" else found.events).append(table)
        found.used.append(raw)
    return joined(found, "amazon2018", paths, options, skips, progress)


def _first_rows(raw: RawFile) -> list[list[str]]:
    """The fields of the first few hundred lines."""
    with raw.open() as file:
        data = file.read(_SAMPLE)
    lines = data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").splitlines()
    if len(data) == _SAMPLE:
        lines = lines[:-1]  # the last one may be cut
    return [line.split(",") for line in lines if line]


def looks_like_ratings(raw: RawFile) -> bool:
    """Whether the first line is four fields of which the last two are numbers."""
    rows = _first_rows(raw)
    if not rows or len(rows[0]) != 4:
        return False
    try:
        return all(float(field) >= 0 for field in rows[0][2:])
    except ValueError:
        return False


def read_ratings(
    raw: RawFile, options: ReadOptions, skips: Skips, progress: Progress
) -> tuple[Table, str]:
    """Ratings without a header, and which order their columns have.

    Raises:
        InputError: the order can't be told, or anything that can't be read.
    """
    order = options.order or _order(raw)
    wanted = ["user_id", "item_id", "time", *(["rating"] if options.with_ratings else [])]
    table = read_rows(
        raw,
        _RATINGS,
        _COLUMNS[order],
        header=False,
        wanted=wanted,
        skips=skips,
        coded=_IDS,
        whole=_TIME,
        progress=progress,
    )
    if options.with_ratings:
        rating = parse_numbers(table.rows["rating"], "rating", table.place, skips)
        table = replace(table, rows=table.rows.with_columns(rating))
    return table, order


def _order(raw: RawFile) -> str:
    """Item ids of Amazon are 10 characters, user ids are longer."""
    rows = [row[:2] for row in _first_rows(raw) if len(row) == 4]
    shares = pl.DataFrame(rows, ["first", "second"], orient="row").select(
        pl.all().str.contains(_ASIN).mean()
    )
    first, second = shares.row(0)
    if max(first, second) < 0.9 or min(first, second) > 0.1:
        raise InputError(
            "which column is the user's and which the item's can't be told",
            where=f"{raw}:1",
            remedy="say it with --order user-first or --order item-first",
        )
    return "item-first" if first > second else "user-first"
