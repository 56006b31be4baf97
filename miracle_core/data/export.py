"""A Dataset as atomic files, so that RecBole and UniSRec run on exactly the same split.

    NAME.train.inter, NAME.valid.inter, NAME.test.inter    user_id, item_id_list, item_id: indices
    NAME.item2index, NAME.user2index                       an id, a tab, its index
    NAME.text                                              id and text of each item (UniSRec)
    NAME.item                                              index, title and text (RecBole)

Rows are in UniSRec's order: users by index, and a user's training rows from the longest history
to the shortest. Histories are capped at their newest items.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.data.dataset import SPLITS, Dataset, Examples
from miracle_core.data.ragged import ragged
from miracle_core.errors import InputError
from miracle_core.files import holds_something, replacing_folder
from miracle_core.paths import as_path
from miracle_core.progress import SILENT, Progress, stage

CAP = 50  # as UniSRec's published files
_CHUNK = 1 << 17  # rows written at a time
_INTER = "user_id:token\titem_id_list:token_seq\titem_id:token\n"


def export_atomic(
    dataset: Dataset, out: str | Path, *, cap: int = CAP, progress: Progress = SILENT
) -> list[Path]:
    """Write a Dataset as atomic files, whole or not at all.

    Args:
        dataset: what to write.
        out: the folder; it must not exist, or be empty.
        cap: the longest history, in items.
        progress: shows each file.

    Returns:
        The files.

    Raises:
        InputError: ``out`` holds something, or an id can't stand in such a file.
    """
    out = as_path(out)
    if holds_something(out):
        raise InputError(
            "is not empty: it is not overwritten", where=str(out), remedy="name a new folder"
        )
    for table, column in ((dataset.items, "item_id"), (dataset.users, "user_id")):
        odd = table[column].str.contains(r"[\t\r\n]")
        if odd.any():
            raise InputError(
                f"the {column} {table[column][int(odd.arg_max() or 0)]!r} holds a tab or a line "
                "end, which no atomic file can hold",
                where=str(dataset.folder),
                remedy="fix the id in the raw data",
            )
    name = re.sub(r"[^\w.-]+", "-", dataset.name).strip("-.") or "dataset"
    with replacing_folder(out) as folder:
        for split in SPLITS:
            with stage(progress, f"writing {name}.{split}.inter"):
                order = _order(dataset.examples(split))
                _write_inter(folder / f"{name}.{split}.inter", dataset, order, cap)
        with stage(progress, f"writing the items of {name}"):
            index = pl.int_range(dataset.n_items, eager=True).cast(pl.String).alias("index")
            items = dataset.items.with_columns(index)
            _write(folder / f"{name}.text", items, ["item_id", "text"], "token_seq")
            _write(folder / f"{name}.item", items, ["index", "title", "text"], "token_seq")
            _write(folder / f"{name}.item2index", items, ["item_id", "index"], None)
            users = pl.int_range(dataset.n_users, eager=True).cast(pl.String).alias("index")
            rows = dataset.users.select("user_id").with_columns(users)
            _write(folder / f"{name}.user2index", rows, ["user_id", "index"], None)
    return sorted(out.iterdir())


def _order(examples: Examples) -> Examples:
    """By user, the longest history first."""
    order = np.lexsort((-examples.positions, examples.users))
    return Examples(examples.users[order], examples.positions[order])


def _write_inter(path: Path, dataset: Dataset, examples: Examples, cap: int) -> None:
    begins = np.maximum(dataset.offsets[examples.users], examples.positions - cap)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(_INTER)
        for start in range(0, len(examples), _CHUNK):
            part = slice(start, start + _CHUNK)
            rows = pl.DataFrame(
                {
                    "user": examples.users[part],
                    "history": _histories(dataset, begins[part], examples.positions[part]),
                    "target": dataset.sequences[examples.positions[part]],
                }
            )
            file.write(rows.write_csv(include_header=False, separator="\t", quote_style="never"))


def _histories(
    dataset: Dataset, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> pl.Series:
    """Each history as indices with spaces between them, String [n]; none is empty."""
    rows, places = ragged(begins, ends - begins)
    tokens = pl.Series(dataset.sequences[places]).cast(pl.String)
    found = pl.DataFrame({"row": rows, "token": tokens}).group_by("row", maintain_order=True)
    return found.agg(pl.col("token").str.join(" "))["token"]


def _write(path: Path, table: pl.DataFrame, columns: list[str], kind: str | None) -> None:
    """A table of text; with a kind, under a typed header whose first column is the item's id."""
    rows = table.select(
        pl.col(name).str.replace_all(r"[\t\r\n]+", " ") for name in columns
    ).write_csv(include_header=False, separator="\t", quote_style="never")
    header = ""
    if kind is not None:
        header = "\t".join(["item_id:token", *(f"{name}:{kind}" for name in columns[1:])]) + "\n"
    path.write_text(header + rows, encoding="utf-8", newline="\n")
