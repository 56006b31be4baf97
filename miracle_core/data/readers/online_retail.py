"""The UCI data set "Online Retail", and its successor: a row is a line of an invoice.

Read as a workbook (``.xlsx``, every sheet) or as CSV, in UTF-8 or Latin-1, with the names of either
release (``InvoiceNo`` or ``Invoice``, ``CustomerID`` or ``Customer ID``). Cancelled invoices (their
number begins with C), quantities that are not positive and lines without a customer are left out,
as steps that are counted. An item's text is its description, the most frequent one.

A user is a customer, or an invoice if ``--user-column InvoiceNo`` says so: then an invoice is a
session, and lines without a customer stay.

``--recipe paper`` gives the data of the paper's table 1: a user is an invoice, cancelled ones and
quantities below 1 stay, lines without a description are left out, and equal lines count once.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from miracle_core.data.interactions import Interactions, count_step
from miracle_core.data.readers.clean import clean_text
from miracle_core.data.readers.delimited import read_header, read_rows, require_columns
from miracle_core.data.readers.lines import Layout
from miracle_core.data.readers.movielens import encoding_of
from miracle_core.data.readers.opening import DAMAGE, RawFile, expand, guarded
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.separators import layout_of
from miracle_core.data.readers.sources import describe_sources
from miracle_core.data.readers.tables import Places, Table
from miracle_core.data.readers.times import parse_numbers, parse_times
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from miracle_core.progress import Progress, stage

_NAMES = {
    "invoiceno": "invoice",
    "invoice": "invoice",
    "stockcode": "item_id",
    "description": "description",
    "quantity": "quantity",
    "invoicedate": "time",
    "customerid": "customer",
}
_COLUMNS = ("invoice", "item_id", "description", "quantity", "time", "customer")
# Codes of StockCode that are no goods: postage, a manual entry, a discount, fees, ...
_NO_GOODS = r"^[A-Za-z ]+$|^C2$"
_CHUNK = 1 << 20


def read(paths: Sequence[Path], options: ReadOptions, progress: Progress) -> Interactions:
    """Read the workbook or its CSV.

    Raises:
        InputError: columns missing, a cell that is not what it should be, or a file that can't be
            read, with the place.
    """
    options.refuse_all_but("online-retail", "user", "separator", "recipe")
    user = _user(options)
    skips = Skips(options.on_error == "skip")
    files = expand(paths)
    tables: list[Table] = []
    for raw in files:
        with stage(progress, f"reading {raw.name}", unit="rows"):
            tables += (
                _sheets(raw) if raw.suffix == ".xlsx" else [_csv(raw, options, skips, progress)]
            )
    frame = pl.concat([table.rows for table in tables])
    notes = [f"a user is {_named(user)}"]
    places = Places(tables)
    with stage(progress, "sorting out invoices"):
        frame = frame.with_columns(
            pl.int_range(pl.len()).alias("row"),
            parse_numbers(frame["quantity"], "quantity", places, skips),
            parse_times(frame["time"], places, skips, notes),
            pl.col(user).alias("user_id"),
        )
        steps = [count_step("as found in the files", frame)]
        for step, keep, remedy in _RECIPES[options.recipe] if options.recipe else _sales(user):
            frame = frame.filter(keep)
            steps.append(count_step(step, frame, remedy))
        items = _items(frame)
    rows = frame["row"]
    return Interactions.checked(
        frame,
        items,
        name=options.name or "OnlineRetail",
        sources=describe_sources(files, progress),
        reading={
            "format": "online-retail",
            "user": user,
            **({"recipe": options.recipe} if options.recipe else {}),
        },
        event_place=lambda row: places(int(rows[row])),
        item_place=lambda row: f"StockCode {items['item_id'][row]}",
        steps=steps,
        notes=[*notes, *_no_goods(frame)],
        skips=skips,
        drop_textless=True,
    )


# What is left out, one step each: its name, what is kept, and the option that keeps the rest.
_Step = tuple[str, pl.Expr, str]
_PAPER: tuple[_Step, ...] = (
    ("lines without a description dropped", pl.col("description") != "", "leave out --recipe"),
    (
        "equal lines merged",
        pl.struct("invoice", "item_id", "quantity", "time").is_first_distinct(),
        "leave out --recipe",
    ),
)
_RECIPES = {"paper": _PAPER}


def _sales(user: str) -> tuple[_Step, ...]:
    """Only what was sold, and to somebody."""
    return (
        ("cancelled invoices dropped", ~pl.col("invoice").str.starts_with("C"), "--format table"),
        # A quantity that is none is no sale either; where that is not an error it was skipped.
        ("quantities below 1 dropped", pl.col("quantity").fill_null(0) > 0, "--format table"),
        (
            f"rows without {_named(user)} dropped",
            pl.col("user_id") != "",
            "--user-column InvoiceNo" if user == "customer" else "",
        ),
    )


def _user(options: ReadOptions) -> str:
    if options.recipe:
        if "user" in options.model_fields_set and _NAMES.get(_key(options.user)) != "invoice":
            raise InputError(
                f"a user of the recipe {options.recipe!r} is an invoice",
                where=f"--user-column {options.user}",
                remedy="leave one of them out",
            )
        return "invoice"
    if "user" not in options.model_fields_set:
        return "customer"
    name = _NAMES.get(_key(options.user))
    if name not in ("customer", "invoice"):
        raise InputError(
            f"{options.user!r} is not a user column",
            where="--user-column",
            remedy="name CustomerID or InvoiceNo",
        )
    return name


def _named(user: str) -> str:
    return "an invoice" if user == "invoice" else "a customer"


def _key(name: str) -> str:
    return name.replace(" ", "").strip().lower()


def known_header(names: Sequence[str]) -> bool:
    """Whether a header is that of this data set."""
    return {_NAMES.get(_key(name)) for name in names} >= set(_COLUMNS)


def _columns(names: Sequence[str], place: str) -> dict[str, str]:
    """Our name of each column, by theirs."""
    ours = {name: _NAMES[_key(name)] for name in names if _key(name) in _NAMES}
    theirs = {
        "invoice": "InvoiceNo",
        "item_id": "StockCode",
        "description": "Description",
        "quantity": "Quantity",
        "time": "InvoiceDate",
        "customer": "CustomerID",
    }
    for column in _COLUMNS:
        if column not in ours.values():
            require_columns(names, [theirs[column]], place)
    if len(ours) != len(set(ours.values())):
        raise InputError(
            "names a column twice", where=place, remedy="keep one of each, e.g. InvoiceNo"
        )
    return ours


def _csv(raw: RawFile, options: ReadOptions, skips: Skips, progress: Progress) -> Table:
    usual = Layout(",", quoted=True, encoding=encoding_of(raw))
    layout = layout_of(raw, usual, options.separator)
    names, place = read_header(raw, layout)
    ours = _columns(names, place)
    table = read_rows(raw, layout, names, wanted=list(ours), skips=skips, progress=progress)
    rows = _tidy(table.rows.rename(ours))
    return replace(table, rows=rows)


def _tidy(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns in one order, stripped; a whole number in a cell of numbers loses its ``.0``."""
    number = pl.col("invoice", "item_id", "customer").str.replace(r"^(\d+)\.0$", "$1")
    return rows.select(
        pl.col(_COLUMNS).cast(pl.String).fill_null("").str.strip_chars()
    ).with_columns(number)


def _sheets(raw: RawFile) -> list[Table]:
    """Every sheet of a workbook that has the columns.

    Raises:
        InputError: no workbook, or none of its sheets has them.
    """
    import fastexcel

    # The published archive holds the workbook, which is an archive itself.
    content = raw.path if raw.plain else raw.read()
    _refuse_bomb(raw, content)
    tables = []
    try:
        workbook = fastexcel.read_excel(content)
        sheets = [
            (name, workbook.load_sheet(name, dtypes="string").to_polars())
            for name in workbook.sheet_names
        ]
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic in the library is no Exception
        said = str(error).split("\n")[0]
        raise InputError(
            f"can't be read as a workbook: {said}",
            where=str(raw),
            remedy="save it as .xlsx again, or as CSV",
        ) from error
    for name, frame in sheets:
        if known_header(frame.columns):
            rows = _tidy(frame.rename(_columns(frame.columns, f"{raw}!{name}:1"), strict=False))
            place = RawFile(Path(str(raw)), member=name)
            tables.append(Table(place, rows, first=2))
    if not tables:
        names = sheets[0][1].columns if sheets else []
        _columns(names, str(raw))
        raise InputError("has no sheet", where=str(raw), remedy="name the right workbook")
    return tables


def _refuse_bomb(raw: RawFile, content: Path | bytes) -> None:
    """Unpack a workbook once with an eye on its size, before the library takes it whole."""
    try:
        whole = content if isinstance(content, Path) else io.BytesIO(content)
        with zipfile.ZipFile(whole) as archive:
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            for entry in archive.infolist():
                if not entry.is_dir():
                    # The archive's own word is not trusted beyond the archive's size.
                    packed = min(entry.compress_size, size)
                    with guarded(raw, archive.open(entry), packed) as file:
                        while file.read(_CHUNK):
                            pass
    except (OSError, *DAMAGE) as error:
        raise InputError(
            f"can't be read as a workbook: {error}",
            where=str(raw),
            remedy="save it as .xlsx again, or as CSV",
        ) from error


def _no_goods(frame: pl.DataFrame) -> list[str]:
    """Notes on interactions with codes that are no goods."""
    codes = frame.filter(pl.col("item_id").str.contains(_NO_GOODS))["item_id"]
    if not len(codes):
        return []
    counts = codes.value_counts().sort(["count", "item_id"], descending=[True, False])
    some = ", ".join(counts["item_id"].head(5)) + (", ..." if counts.height > 5 else "")
    return [
        f"{len(codes):,} rows have a StockCode that is not a product ({some}: postage, manual "
        "entries, discounts, fees): they are kept; remove them from the file to leave them out"
    ]


def _items(frame: pl.DataFrame) -> pl.DataFrame:
    """Each item, in the order of its first row, with its most frequent description."""
    said = frame.select("item_id", clean_text(frame["description"]).alias("title"), "row").filter(
        pl.col("title") != ""
    )
    best: Any = (
        said.group_by("item_id", "title", maintain_order=True)
        .agg(pl.len().alias("times"), pl.col("row").min())
        .sort(["times", "row"], descending=[True, False])
        .unique("item_id", keep="first", maintain_order=True)
        .select("item_id", "title")
    )
    order = frame.select("item_id").unique(maintain_order=True).filter(pl.col("item_id") != "")
    found = order.join(best, on="item_id", how="left", maintain_order="left").fill_null("")
    return found.with_columns(pl.col("title").alias("text"))
