"""Datasets from pandas, polars and pyarrow tables; Datasets and results as pandas tables."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from miracle_core.data.dataset import Dataset
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import ReadOptions, read
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.recommender import Recommender
from miracle_core.runs.folder import RunFolder
from miracle_core.training.finetuning import finetune
from miracle_core.training.pretraining import pretrain
from tests.training.support import pretrain_settings, quick_settings

KEEP = PrepareSettings(k_core=0)
DAYS = [dt.datetime(2024, 1, day, 12) for day in (3, 1, 2, 5, 4, 6)]
COLUMNS: dict[str, list[Any]] = {
    "who": [7, 7, 7, 8, 8, 8],
    "what": ["a", "b", "c", "a", "c", "b"],
    "when": DAYS,
    "label": ["Ant", "Bee", "Cat", "Ant", "Cat", "Bee"],
    "shelf": ["x", "y", None, "x", "z", "y"],
}
NAMED: dict[str, Any] = {
    "user": "who",
    "item": "what",
    "time": "when",
    "title": "label",
    "text": "shelf",
    "settings": KEEP,
}
KINDS: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_read_as_its_file_is(tmp_path: Path, kind: str) -> None:
    data = Dataset.from_frame(KINDS[kind](COLUMNS), tmp_path / kind, **NAMED)
    pl.DataFrame(COLUMNS).write_parquet(tmp_path / "frame.parquet")
    names = {name: value for name, value in NAMED.items() if name != "settings"}
    options = ReadOptions(**{**names, "text": ("shelf",)})
    read_from_file = read("table", [tmp_path / "frame.parquet"], options)
    expected = prepare(read_from_file, KEEP, tmp_path / "file")
    assert data.manifest.fingerprint == expected.manifest.fingerprint
    assert data.users["user_id"].to_list() == ["7", "8"]
    assert data.items["title"].to_list() == ["Ant", "Bee", "Cat"]
    assert data.items["text"].to_list() == ["Ant. x", "Bee. y", "Cat. z"]
    assert data.sequences.tolist() == [1, 2, 0, 2, 0, 1]  # in time order
    assert data.manifest.settings["read"]["format"] == "frame"


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    found = []
    for kind, make in KINDS.items():
        Dataset.from_frame(make(COLUMNS), tmp_path / kind, **NAMED)
        found.append(contents(tmp_path / kind))
    assert found[0] == found[1] == found[2]


def test_the_index_of_a_pandas_table_means_nothing(tmp_path: Path) -> None:
    frame = pd.DataFrame(COLUMNS, index=[5, 5, 3, 2, 1, 0])
    data = Dataset.from_frame(frame, tmp_path / "out", **NAMED)
    assert data.sequences.tolist() == [1, 2, 0, 2, 0, 1]


def test_kinds_of_pandas_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(COLUMNS)
    plain = Dataset.from_frame(frame, tmp_path / "plain", **NAMED).manifest.fingerprint
    for place, changed in enumerate(
        (
            frame.astype({"what": "category", "label": "string"}),
            frame.astype({"who": "Int64"}),
            frame.astype({"who": float}),  # as pandas converts columns with missing values
            frame.assign(when=frame["when"].dt.tz_localize("UTC")),
            frame.assign(when=frame["when"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
            frame.assign(when=frame["when"].astype(str)),
        )
    ):
        found = Dataset.from_frame(changed, tmp_path / str(place), **NAMED)
        assert found.manifest.fingerprint == plain, place


def test_an_item_table_ratings_and_attributes(tmp_path: Path) -> None:
    events = pd.DataFrame({"user_id": list("uuuvvv"), "item_id": [1, 2, 3, 1, 2, 3]})
    events["stars"] = [5.0, 1.0, 4.0, 5.0, 5.0, 5.0]
    items = pl.DataFrame(
        {"item_id": ["1", "2", "3"], "title": ["A", "B", "C"], "brand": ["x", "y", "x"]}
    )
    data = Dataset.from_frame(
        events,
        tmp_path / "out",
        items=items,
        rating="stars",
        attributes="brand",
        name="shop",
        settings=PrepareSettings(k_core=0, min_rating=3),
    )
    assert (data.name, data.n_interactions) == ("shop", 5)
    assert data.items["title"].to_list() == ["A", "B", "C"]
    assert data.attributes["value"].to_list() == ["x", "y", "x"]
    assert data.sequences.tolist() == [0, 2, 0, 1, 2]  # in row order


def test_rows_that_can_not_be_used_may_be_skipped(tmp_path: Path) -> None:
    frame = pd.DataFrame({**COLUMNS, "who": [7, 7, 7, None, 8, 8]})
    data = Dataset.from_frame(frame, tmp_path / "out", **NAMED, on_error="skip")
    assert data.n_interactions == 5
    (skip,) = data.manifest.counts["skipped"]
    assert (skip["rows"], skip["first"]) == (1, "frame: row 4")


MIXED = [7, 7, "7", 8, 8, 8]


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({}, {"user": "customer"}, "frame: has no column 'customer' (it has: who, what"),
        ({}, {"text": ["shelf", "brand"]}, "frame: has no column 'brand'"),
        ({}, {"title": None, "text": ()}, "say no_text=True"),
        ({}, {"user": 3}, "user: 3 is not a column's name"),
        ({}, {"text": [None]}, "text: None is not a column's name"),
        ({}, {"on_error": "ignore"}, "say 'stop' or 'skip'"),
        ({"who": [7, 7, 7, None, 8, 8]}, {}, "frame: row 4: has no user_id"),
        ({"who": [7, 7, 7.5, 8, 8, 8]}, {}, "frame: row 3: the column 'who' holds ids as floats"),
        ({"who": MIXED}, {}, "frame: row 3: the column 'who' holds '7' (str), and 7 (int)"),
        ({"what": ["a", "", "c", "a", "c", "b"]}, {}, "frame: row 2: has no item_id"),
        ({"when": [*DAYS[:5], None]}, {}, "frame: row 6: has no time"),
        ({"when": ["2024-01-01"] * 5 + ["soon"]}, {}, "frame: row 6: 'soon' is not a time"),
        ({"when": [dt.timedelta(1)] * 6}, {}, "no moment in time"),
        ({"label": [None] * 6, "shelf": [None] * 6}, {}, "frame: row 1: the item 'a' has no text"),
        ({"who": [object()] * 6}, {}, "the column 'who' can't be read"),
        ({}, {"settings": PrepareSettings(k_core=9)}, "left"),
        ({}, {"rating": "label", "settings": PrepareSettings(min_rating=1)}, "frame: row 1"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(
    tmp_path: Path, change: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError) as caught:
        Dataset.from_frame(
            pd.DataFrame({**COLUMNS, **change}), tmp_path / "out", **{**NAMED, **options}
        )
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pl.LazyFrame(COLUMNS), "call .collect() first"),
        ("sales.csv", "is a str, not a table"),
        (COLUMNS, "is a dict, not a table"),
        (pd.Series([1]), "is a Series, not a table"),
        (pd.DataFrame(COLUMNS).head(0), "has no rows"),
        (pl.DataFrame(COLUMNS).head(0), "has no rows"),
        (pd.DataFrame([[1, 2, 3]], columns=["who", "who", "what"]), "several columns 'who'"),
        (pa.table([[1], [2]], names=["who", "who"]), "several columns 'who'"),
    ],
)
def test_what_is_no_table(tmp_path: Path, frame: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        Dataset.from_frame(frame, tmp_path / "out", **NAMED)
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_item_that_the_item_table_lacks(tmp_path: Path) -> None:
    events = pd.DataFrame({"user_id": ["u", "u"], "item_id": ["a", "b"]})
    items = pd.DataFrame({"item_id": ["a"], "title": ["Ant"]})
    with pytest.raises(InputError, match="names the item 'b'") as caught:
        Dataset.from_frame(events, tmp_path / "out", items=items, settings=KEEP)
    assert caught.value.where == "frame: row 2"
    again = pd.DataFrame({"item_id": ["a", "b", "a"], "title": ["Ant", "Bee", "Ant"]})
    with pytest.raises(InputError, match="is there twice") as caught:
        Dataset.from_frame(events, tmp_path / "out", items=again, settings=KEEP)
    assert caught.value.where == "items: row 3"


def test_a_dataset_as_tables_and_back(tmp_path: Path) -> None:
    data = Dataset.from_frame(pd.DataFrame(COLUMNS), tmp_path / "one", **NAMED)
    frame, items = data.to_frame(), data.items_frame()
    assert list(frame.columns) == ["user_id", "item_id", "split"]
    assert frame.to_numpy().tolist() == [
        *(["7", "b", "train"], ["7", "c", "valid"], ["7", "a", "test"]),
        *(["8", "c", "train"], ["8", "a", "valid"], ["8", "b", "test"]),
    ]
    assert list(items.columns) == ["item_id", "title", "text", "domain"]
    assert items["item_id"].tolist() == ["a", "b", "c"]
    again = Dataset.from_frame(frame, tmp_path / "two", items=items, text="text", settings=KEEP)
    assert again.sequences.tolist() == data.sequences.tolist()
    assert again.offsets.tolist() == data.offsets.tolist()


def test_a_temporal_split_keeps_its_times(tmp_path: Path) -> None:
    days = [dt.datetime(2024, 1, day) for day in range(1, 11)]
    frame = pd.DataFrame({"u": ["x", "y"] * 5, "i": list("ababababab"), "t": days, "title": "T"})
    settings = PrepareSettings(
        k_core=0, split="temporal", valid_from="2024-01-07", test_from="2024-01-09"
    )
    data = Dataset.from_frame(
        frame, tmp_path / "out", user="u", item="i", time="t", settings=settings
    )
    found = data.to_frame()
    assert pd.to_datetime(found["time"], unit="us").tolist() == [*days[::2], *days[1::2]]
    for row in found.itertuples():
        day = pd.to_datetime(row.time, unit="us").day
        assert row.split == ("train" if day < 7 else "valid" if day < 9 else "test")


def test_every_part_is_told(small_run: Path) -> None:
    data = Dataset.open(small_run / "data")
    frame = data.to_frame()
    assert len(frame) == data.n_interactions
    for split in ("valid", "test"):
        positions = data.examples(split).positions
        assert np.flatnonzero(frame["split"] == split).tolist() == positions.tolist()
    # A user with fewer than three items is used for training only.
    assert set(frame[frame["user_id"] == "user-1"]["split"]) == {"train"}


def test_results_as_tables(small_run: Path) -> None:
    found = evaluate_run(small_run, split="valid")
    frame = found.frame()
    assert list(frame.index) == ["run", "popularity", "chance"]
    assert frame.loc["run"].to_dict() == found.found.metrics
    assert frame.loc["chance"].to_dict() == found.references["chance"].metrics
    answer = Recommender.load(small_run).recommend([0, 9], 4)
    frame = answer.frame()
    for row, item in zip(frame.itertuples(), answer.items, strict=True):
        assert (row.rank, row.item, row.item_id) == (item.rank, item.item, item.item_id)
        assert (row.title, row.score) == (item.title, item.score)
        assert (row.capsule, row.repeat) == (item.capsule, item.repeat)


def test_a_system_without_capsules_has_none_in_its_table(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=1)
    values = settings.model_dump()
    assert values["data"]
    from miracle_core.config import make_settings

    fitted = make_settings(
        {"data": values["data"], "model": {"kind": "popularity"}, "seen": "as-printed"}
    )
    finetune(fitted, tmp_path / "run")
    frame = Recommender.load(tmp_path / "run").recommend([0], 3).frame()
    assert frame["capsule"].isna().all() and str(frame["capsule"].dtype) == "Int64"
    assert RunFolder(tmp_path / "run").frame().empty


def test_a_history_of_training_as_a_table(tmp_path: Path) -> None:
    finetune(quick_settings(tmp_path / "data", train__epochs=3), tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    frame = folder.frame()
    for row, record in zip(frame.to_dict("records"), folder.history(), strict=True):
        assert (row["epoch"], row["best"]) == (record["epoch"], record["best"])
        assert row["train/loss"] == record["train"]["loss"]
        assert row["valid/recall@10"] == record["valid"]["recall@10"]
        assert row["figures/capsules_in_use"] == record["figures"]["capsules_in_use"]
    pretrain(pretrain_settings(tmp_path / "pre", train__epochs=1), tmp_path / "pre-run")
    columns = RunFolder(tmp_path / "pre-run").frame().columns
    assert {"valid tiny/recall@10", "valid other/recall@10"} <= set(columns)


def test_pandas_is_imported_when_a_table_is_asked_for() -> None:
    modules = ["data.dataset", "data.readers.frame", "data.frames", "runs.folder", "recommender"]
    program = (
        f"import sys, importlib\nfor m in {modules}: importlib.import_module('miracle_core.' + m)\n"
        "print('pandas' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False\n"


def test_a_notebook_shows_a_dataset_as_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": ["a"] * 3, "item_id": ["x", "y", "x"]})
    frame["title"] = ["<script>alert(1)</script> Glove <b>", "Tape & Co < 3", ""]
    frame.loc[2, "title"] = frame.loc[0, "title"]
    frame["shelf"] = "red"
    dataset = Dataset.from_frame(
        frame,
        tmp_path / "data",
        title="title",
        attributes="shelf",
        name="<img src=x>",
        settings=PrepareSettings(k_core=0),
    )
    shown = dataset._repr_html_()
    assert "<script" not in shown and "<img" not in shown and "<b>" not in shown
    assert "&lt;img src=x&gt;" in shown and "Tape &amp; Co" in shown
    for row in ("<th>users</th><td>1<", "<th>items</th><td>2<", "<td>leave-one-out<"):
        assert row in shown
    assert "<th>text vectors</th><td>none<" in shown and "<th>attributes</th><td>shelf<" in shown
