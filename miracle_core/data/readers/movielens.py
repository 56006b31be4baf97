"""MovieLens: the three layouts of its releases, told apart by the names of the files.

    100k        u.data (tabs), u.item (bars, Latin-1, genres as flags)
    1M, 10M     ratings.dat, movies.dat (``::`` between fields, Latin-1 or UTF-8)
    20M and on  ratings.csv, movies.csv (UTF-8 with a header)

An item's text is its title and its genres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers.attributes import attribute_rows
from miracle_core.data.readers.clean import clean_text, join_texts
from miracle_core.data.readers.delimited import read_header, read_rows, require_columns
from miracle_core.data.readers.lines import Layout
from miracle_core.data.readers.opening import RawFile, expand
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.separators import layout_of
from miracle_core.data.readers.sources import describe_sources
from miracle_core.data.readers.tables import Table
from miracle_core.data.readers.times import parse_numbers, parse_times
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from miracle_core.progress import Progress, stage

# The flags at the end of u.item, in their order.
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
# The files of each layout, and what their data set is called without a better name.
LAYOUTS = {
    "u.data": ("u.item", "ml-100k"),
    "ratings.dat": ("movies.dat", "movielens"),
    "ratings.csv": ("movies.csv", "movielens"),
}
_RATINGS = ("user_id", "item_id", "rating", "time")


def read(paths: Sequence[Path], options: ReadOptions, progress: Progress) -> Interactions:
    """Read a release, given as its folder, its archive or its two files.

    Raises:
        InputError: a file missing, or anything that can't be read, with its place.
    """
    options.refuse_all_but("movielens", "items", "separator")
    skips = Skips(options.on_error == "skip")
    files = expand([*paths, *([options.items] if options.items else [])])
    ratings, movies = _find(files, ", ".join(map(str, paths)))
    with stage(progress, f"reading {movies.name}", unit="rows"):
        item_table = _movies(movies, options, skips, progress)
        rows = item_table.rows
        title = clean_text(rows["title"])
        genres = clean_text(rows["genres"].str.replace_all("|", " ", literal=True))
        attributes = attribute_rows(rows["item_id"], {"genre": rows["genres"]}, several=["genre"])
    with stage(progress, f"reading {ratings.name}", unit="rows"):
        table = _ratings(ratings, options, skips, progress)
        notes: list[str] = []
        times = parse_times(table.rows["time"], table.place, skips, notes)
        table = replace(table, rows=table.rows.with_columns(times))
    folder = Path(ratings.member).parent.name if ratings.member else ratings.path.parent.name
    return Interactions.checked(
        table.rows,
        pl.DataFrame([item_table.rows["item_id"], title, join_texts([title, genres], "text")]),
        name=options.name or (folder if folder.startswith("ml-") else LAYOUTS[ratings.name][1]),
        sources=describe_sources([ratings, movies], progress),
        reading={"format": "movielens", "layout": ratings.name},
        event_place=table.place,
        item_place=item_table.place,
        notes=notes,
        skips=skips,
        attributes=attributes,
    )


def _find(files: Sequence[RawFile], where: str) -> tuple[RawFile, RawFile]:
    by_name = {raw.name: raw for raw in files}
    found = [name for name in LAYOUTS if name in by_name]
    if len(found) != 1:
        raise InputError(
            f"holds {' and '.join(found) or 'none'} of {', '.join(LAYOUTS)}",
            where=where,
            remedy="name one release: its folder, its archive, or its two files",
        )
    movies = LAYOUTS[found[0]][0]
    if movies not in by_name:
        raise InputError(
            f"{movies}, the movies' titles and genres, is missing",
            where=where,
            remedy="add the file, or name its folder",
        )
    return by_name[found[0]], by_name[movies]


def encoding_of(raw: RawFile) -> str:
    """``utf-8`` where all of a (small) file is, else ``latin-1``."""
    try:
        raw.read().decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _ratings(raw: RawFile, options: ReadOptions, skips: Skips, progress: Progress) -> Table:
    wanted = [name for name in _RATINGS if name != "rating" or options.with_ratings]
    if raw.name == "ratings.csv":
        layout = layout_of(raw, Layout(",", quoted=True), options.separator)
        names, place = read_header(raw, layout)
        theirs = dict(zip(_RATINGS, ("userId", "movieId", "rating", "timestamp"), strict=True))
        require_columns(names, list(theirs.values()), place)
        table = read_rows(
            raw,
            layout,
            names,
            wanted=[theirs[name] for name in wanted],
            skips=skips,
            progress=progress,
        )
        rows = table.rows.rename({theirs[name]: name for name in wanted})
    else:
        layout = Layout("\t" if raw.name == "u.data" else "::", quoted=False)
        table = read_rows(
            raw, layout, _RATINGS, header=False, wanted=wanted, skips=skips, progress=progress
        )
        rows = table.rows
    if options.with_ratings:
        rows = rows.with_columns(parse_numbers(rows["rating"], "rating", table.place, skips))
    return replace(table, rows=rows)


def _movies(raw: RawFile, options: ReadOptions, skips: Skips, progress: Progress) -> Table:
    """item_id, title and genres, the genres separated by ``|``."""
    encoding = encoding_of(raw)
    if raw.name == "movies.csv":
        layout = layout_of(raw, Layout(",", quoted=True, encoding=encoding), options.separator)
        names, place = read_header(raw, layout)
        require_columns(names, ["movieId", "title", "genres"], place)
        table = read_rows(
            raw,
            layout,
            names,
            wanted=["movieId", "title", "genres"],
            skips=skips,
            progress=progress,
        )
        rows = table.rows.rename({"movieId": "item_id"})
    elif raw.name == "movies.dat":
        layout = Layout("::", quoted=False, encoding=encoding)
        names = ["item_id", "title", "genres"]
        table = read_rows(raw, layout, names, header=False, skips=skips, progress=progress)
        rows = table.rows
    else:
        layout = Layout("|", quoted=False, encoding=encoding)
        names = ["item_id", "title", "released", "video", "url", *_GENRES]
        table = read_rows(raw, layout, names, header=False, skips=skips, progress=progress)
        flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES[1:]]
        rows = table.rows.select(
            "item_id",
            "title",
            pl.concat_str(flags, separator="|", ignore_nulls=True).alias("genres"),
        )
    rows = rows.with_columns(pl.col("genres").str.replace("(no genres listed)", "", literal=True))
    return replace(table, rows=rows)
