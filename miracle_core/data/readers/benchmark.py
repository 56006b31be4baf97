"""The benchmark form of atomic files: every user's history as rows, split already.

    NAME.test.inter    user_id, item_id_list (the history, space-separated), item_id (the next)
    NAME.train.inter, NAME.valid.inter, NAME.item2index, NAME.user2index    where given
    NAME.text or NAME.item

A row says: after these items came this one. Histories may be capped (usually at 50), so one row
doesn't hold a long sequence, but the rows of a user overlap. Each row is put at its place in the
sequence: a history shorter than the cap begins at the beginning, and capped ones follow one
another. Together they give the sequence. If two rows contradict each other, the files are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from miracle_core.data.interactions import Interactions, check_unique, encode
from miracle_core.data.readers.atomic import Found, read_items, typed_rows
from miracle_core.data.readers.delimited import read_rows
from miracle_core.data.readers.lines import TAB
from miracle_core.data.readers.opening import RawFile
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.sources import describe_sources
from miracle_core.data.readers.tables import Table
from miracle_core.errors import InputError
from miracle_core.progress import Progress, stage

_SPLITS = ("train", "valid", "test")
_HEADER = ("user_id", "item_id_list", "item_id")


@dataclass(frozen=True)
class _Index:
    """What the tokens in the histories stand for.

    Attributes:
        tokens: String [n], distinct, as they stand in the .inter files, in index order.
        ids: String [n], the ids they stand for.
        path: the file that says so.
    """

    tokens: pl.Series
    ids: pl.Series
    path: RawFile


def read_benchmark(found: Found, options: ReadOptions, progress: Progress) -> Interactions:
    """Read a benchmark split back into whole sequences.

    The time of an event is its place in the user's sequence. Items come in index order, users in
    that of NAME.user2index, or of NAME.test.inter without one.

    Raises:
        InputError: rows that contradict each other, a user twice in a split or missing from the
            test split, an unknown item or user, or files that can't be read, with the place.
    """
    if options.on_error == "skip":
        raise InputError(
            "a published split is read whole or not at all: rows can't be skipped",
            where=f"{found.files['test.inter']}",
            remedy="leave --on-error skip out",
        )
    used = [found.item_file]
    with stage(progress, f"reading {found.item_file.name}", unit="rows"):
        item_table, items, attributes = read_items(
            found.item_file, progress=progress, separator=options.separator
        )
        check_unique(items["item_id"], "item", item_table.place)
        item_index = _item_index(found, items["item_id"])
        rows = encode(item_index.ids, items["item_id"])
        no_row = np.flatnonzero(rows < 0)
        if len(no_row):
            at = int(no_row[0])
            raise InputError(
                f"the item {item_index.ids[at]!r} has no row in {found.item_file.name}",
                where=str(item_index.path),
                remedy="add the item with its text",
            )
        # Items that no history can name come last; preparation counts and drops them.
        rows = np.concatenate([rows, np.setdiff1d(np.arange(items.height), rows)])
        items = items[rows]
    tables = {}
    for split in _SPLITS:
        if (path := found.files.get(f"{split}.inter")) is not None:
            with stage(progress, f"reading {path.name}", unit="rows"):
                tables[split] = typed_rows(
                    path, _HEADER, progress=progress, separator=options.separator
                )
            used.append(path)
    with stage(progress, "joining the rows of each user"):
        user_index = _user_index(found, tables["test"])
        rows_frame = _rows(tables, user_index)
        events = _sequences(rows_frame, tables, item_index)
    used += [found.files[key] for key in ("item2index", "user2index") if key in found.files]
    return Interactions.checked(
        pl.DataFrame(
            {
                "user_id": user_index.ids.gather(events["user"]),
                "item_id": item_index.ids.gather(events["item"]),
                "time": events["position"],
            }
        ),
        items,
        name=options.name or found.name,
        sources=describe_sources(used, progress),
        reading={"format": "atomic", "form": "benchmark", "splits": list(tables)},
        benchmark=True,
        timed=False,
        item_place=lambda row: item_table.place(int(rows[row])),
        attributes=attributes,
    )


def _item_index(found: Found, item_ids: pl.Series) -> _Index:
    if "item2index" in found.files:
        return _read_index(found.files["item2index"], "item")
    numbers = item_ids.cast(pl.UInt32, strict=False)
    if numbers.null_count() == 0:  # indices: put them in their order
        item_ids = item_ids[numbers.arg_sort()]
    return _Index(item_ids, item_ids, found.item_file)


def _user_index(found: Found, test: Table) -> _Index:
    if "user2index" in found.files:
        return _read_index(found.files["user2index"], "user")
    users = test.rows["user_id"].unique(maintain_order=True)
    return _Index(users, users, test.path)


def _read_index(path: RawFile, kind: str) -> _Index:
    """NAME.item2index or NAME.user2index: an id, a tab, its index; no header."""
    table = read_rows(path, TAB, ["id", "token"], header=False)
    numbers = table.rows["token"].cast(pl.UInt32, strict=False)
    if numbers.null_count():
        row = int(numbers.is_null().arg_max() or 0)
        raise InputError(
            f"{table.rows['token'][row]!r} is not an index (a whole number from 0)",
            where=table.place(row),
            remedy="each line is an id, a tab and its index; there is no header",
        )
    check_unique(table.rows["id"], kind, table.place)
    check_unique(table.rows["token"], "index", table.place)
    rows = table.rows[numbers.arg_sort()]
    return _Index(rows["token"], rows["id"], path)


def _rows(tables: dict[str, Table], users: _Index) -> pl.DataFrame:
    """Every row's place: split, row, user (index), tokens, length, position of its target.

    Raises:
        InputError: an unknown user, one who is twice in a split or not in the test split, or a
            split that is not leave-one-out.
    """
    frames = []
    for number, split in enumerate(_SPLITS):
        if split not in tables:
            continue
        table = tables[split]
        codes = encode(table.rows["user_id"], users.tokens)
        if (unknown := np.flatnonzero(codes < 0)).size:
            row = int(unknown[0])
            raise InputError(
                f"the user {table.rows['user_id'][row]!r} is not in {users.path.name}",
                where=table.place(row),
                remedy="every user needs a row in the test split and in the user index",
            )
        if split != "train":
            check_unique(table.rows["user_id"], "user", table.place)
        history = table.rows["item_id_list"].str.extract_all(r"\S+")
        frame = table.rows.select(
            pl.lit(number, dtype=pl.UInt8).alias("split"),
            pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
            pl.Series("user", codes),
            pl.concat_list(history, pl.col("item_id").str.strip_chars()).alias("tokens"),
            history.list.len().cast(pl.Int64).alias("length"),
        )
        # Rows in the order of their targets; UniSRec writes the longest first.
        backwards = split == "train" and _falls(frame)
        frames.append(
            frame.with_columns((-pl.col("row") if backwards else pl.col("row")).alias("order"))
        )
    rows = pl.concat(frames)
    cap = rows["length"].max()
    capped = pl.col("length") == cap
    rows = rows.sort("user", "split", "order").with_columns(
        (pl.col("length") + pl.when(capped).then(capped.cum_sum().over("user") - 1).otherwise(0))
        .cast(pl.Int64)
        .alias("position")
    )
    _check_split(rows, tables)
    return rows


def _falls(frame: pl.DataFrame) -> bool:
    """Whether a user's histories get shorter from row to row, as UniSRec writes them.

    If all are equally long, the order can't be seen, and UniSRec's is assumed.
    """
    change = frame.select(
        pl.when(pl.col("user") == pl.col("user").shift())
        .then(pl.col("length") - pl.col("length").shift())
        .sign()
        .sum()
    ).item()
    return bool((change or 0) <= 0)


def _check_split(rows: pl.DataFrame, tables: dict[str, Table]) -> None:
    """Each user's test target comes last, the validation target just before it."""
    test = rows.filter(pl.col("split") == 2).select("user", pl.col("position").alias("last"))
    others = rows.filter(pl.col("split") < 2).join(test, on="user", how="left")
    lost = others.filter(pl.col("last").is_null())
    if lost.height:
        found = lost.row(0, named=True)
        table = tables[_SPLITS[found["split"]]]
        raise InputError(
            f"the user {table.rows['user_id'][found['row']]!r} has no row in the test split",
            where=table.place(found["row"]),
            remedy="every user needs a row in the test split",
        )
    before = pl.col("last") - pl.col("position")
    least = 2 if "valid" in tables else 1
    wrong = others.filter(
        ((pl.col("split") == 1) & (before != 1)) | ((pl.col("split") == 0) & (before < least))
    )
    if wrong.height:
        found = wrong.sort("split", "row").row(0, named=True)
        table = tables[_SPLITS[found["split"]]]
        raise InputError(
            f"this row's item is number {found['position'] + 1} of its user's, the test item is "
            f"number {found['last'] + 1}: that is not a leave-one-out split",
            where=table.place(found["row"]),
            remedy="the last item belongs to the test, the one before it to the validation split",
        )


def _sequences(rows: pl.DataFrame, tables: dict[str, Table], items: _Index) -> pl.DataFrame:
    """What all rows say together: user, position, item (indices), in that order.

    Raises:
        InputError: an unknown item, or two rows that contradict each other.
    """
    said = (
        rows.select(
            "split",
            "row",
            "user",
            "tokens",
            pl.int_ranges(pl.col("position") - pl.col("length"), pl.col("position") + 1).alias(
                "position"
            ),
        )
        .explode("tokens", "position")
        .with_columns(pl.col("position").cast(pl.Int64))
    )
    said = said.with_columns(pl.Series("item", encode(said["tokens"], items.tokens)))
    unknown = said.filter(pl.col("item") < 0)
    if unknown.height:
        found = unknown.sort("split", "row", "position").row(0, named=True)
        raise InputError(
            f"names the item {found['tokens']!r}, which is not in {items.path.name}",
            where=tables[_SPLITS[found["split"]]].place(found["row"]),
            remedy=f"add the item to {items.path.name}, or fix the row",
        )
    # The latest split first: the test row is the one that others are measured by.
    said = said.sort("user", "position", "split", "row", descending=[False, False, True, False])
    same = (pl.col("user") == pl.col("user").shift()) & (
        pl.col("position") == pl.col("position").shift()
    )
    clash = said.filter(same & (pl.col("item") != pl.col("item").shift()))
    if clash.height:
        found = clash.row(0, named=True)
        witness = said.filter(
            (pl.col("user") == found["user"]) & (pl.col("position") == found["position"])
        ).row(0, named=True)
        other = tables[_SPLITS[witness["split"]]].place(witness["row"])
        raise InputError(
            f"has the item {found['tokens']!r} as its user's number {found['position'] + 1}, where "
            f"{other} has {witness['tokens']!r}",
            where=tables[_SPLITS[found["split"]]].place(found["row"]),
            remedy="the rows of one user must be pieces of one sequence: fix one of the two, or "
            "add the rows between them",
        )
    # Nothing is missing in between: every row begins at the beginning or one after the other.
    return said.filter(~same.fill_null(False)).select("user", "position", "item")
