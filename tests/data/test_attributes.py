"""Item attributes, and items that have only ids: from files to a Dataset."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from miracle_cli.main import main
from miracle_core.data.attributes import Attributes
from miracle_core.data.dataset import Dataset
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import ReadOptions, read
from miracle_core.data.readers.attributes import attribute_rows
from miracle_core.data.verify import verify
from miracle_core.errors import InputError

Capture = pytest.CaptureFixture[str]
USERS, ITEMS = "abcde", "wxyz"


def table(folder: Path, header: str, row: str) -> Path:
    """Every user takes every item; ``row`` is formatted with user, item and the item's number."""
    rows = [row.format(user=user, item=item, n=n) for user in USERS for n, item in enumerate(ITEMS)]
    path = folder / "sales.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows_of(dataset: Dataset) -> list[tuple[str, str, str]]:
    ids = dataset.items["item_id"]
    return [(ids[item], name, value) for item, name, value in dataset.attributes.iter_rows()]


def test_columns_of_a_table(tmp_path: Path) -> None:
    path = table(tmp_path, "user_id,item_id,title,brand,shelf", "{user},{item},T {item},B{n}, s ")
    options = ReadOptions(attributes=("brand", "shelf"))
    dataset = prepare(read("table", [path], options), PrepareSettings(k_core=0), tmp_path / "data")
    assert rows_of(dataset) == [
        (item, *pair)
        for n, item in enumerate(ITEMS)
        for pair in (("brand", f"B{n}"), ("shelf", "s"))
    ]
    assert dataset.manifest.format == 2
    verify(dataset.folder)
    assert (dataset.folder / "attributes.parquet").is_file()
    # The same input gives the same bytes; without attributes the fingerprint differs.
    again = prepare(read("table", [path], options), PrepareSettings(k_core=0), tmp_path / "again")
    plain = prepare(read("table", [path]), PrepareSettings(k_core=0), tmp_path / "plain")
    assert again.manifest.fingerprint == dataset.manifest.fingerprint
    assert plain.manifest.fingerprint != dataset.manifest.fingerprint
    assert not plain.attributes.height


def test_a_missing_attribute_column_is_named(tmp_path: Path) -> None:
    path = table(tmp_path, "user_id,item_id,title", "{user},{item},T")
    with pytest.raises(InputError, match="has no column 'brand'"):
        read("table", [path], ReadOptions(attributes=("brand",)))


def test_categories_and_brands_of_atomic_files(tmp_path: Path) -> None:
    inter = [f"{user}\t{item}\t{n}" for user in USERS for n, item in enumerate(ITEMS)]
    (tmp_path / "S.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *inter]) + "\n"
    )
    items = ["w\tOne\tTools, Saws\tAcme", "x\tTwo\tTools\t", "y\tThree\t\tAcme", "z\tFour\tA|B\tZ"]
    header = "item_id:token\ttitle:token_seq\tcategories:token_seq\tbrand:token"
    (tmp_path / "S.item").write_text("\n".join([header, *items]) + "\n")
    dataset = prepare(read("atomic", [tmp_path]), PrepareSettings(k_core=0), tmp_path / "data")
    assert rows_of(dataset) == [
        ("w", "brand", "Acme"),
        ("w", "category", "Tools"),
        ("w", "category", "Saws"),
        ("x", "category", "Tools"),
        ("y", "brand", "Acme"),
        ("z", "brand", "Z"),
        ("z", "category", "A"),
        ("z", "category", "B"),
    ]


def test_values_are_clean_each_once_and_never_blank() -> None:
    column = pl.Series([" A&amp;B |A&B", None, "", "c; d"])
    found = attribute_rows(pl.Series(["1", "2", "3", "4"]), {"tag": column}, several=["tag"])
    assert list(found.iter_rows()) == [("1", "tag", "A&B"), ("4", "tag", "c"), ("4", "tag", "d")]


def test_numbers_of_attributes() -> None:
    rows = [(0, "brand", "b"), (0, "category", "x"), (2, "brand", "a"), (2, "category", "x")]
    found = Attributes.of(pl.DataFrame(rows, ["item", "attribute", "value"], orient="row"), 4)
    assert found.names == ("brand", "category")
    assert found.values == (("brand", "a"), ("brand", "b"), ("category", "x"))
    per_item = [
        found.codes[a:b].tolist() for a, b in zip(found.offsets, found.offsets[1:], strict=False)
    ]
    assert per_item == [[1, 2], [], [0, 2], []]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "user_id,item_id,title,brand", "{user},{item},T,B")
    dataset = prepare(
        read("table", [path], ReadOptions(attributes=("brand",))),
        PrepareSettings(k_core=0),
        tmp_path / "d",
    )
    dataset.attributes.with_columns(pl.lit(9, pl.Int32).alias("item")).write_parquet(
        dataset.folder / "attributes.parquet"
    )
    with pytest.raises(InputError, match="has changed"):
        Dataset.open(dataset.folder)
    with pytest.raises(InputError, match="does not fit"):
        _ = Dataset.open(dataset.folder, verify=False).attributes


def test_a_dataset_of_the_first_format_opens(tmp_path: Path) -> None:
    path = table(tmp_path, "user_id,item_id,title", "{user},{item},T {item}")
    dataset = prepare(read("table", [path]), PrepareSettings(k_core=0), tmp_path / "data")
    manifest = dataset.folder / "manifest.json"
    old = json.loads(manifest.read_text())
    del old["text"]
    manifest.write_text(json.dumps({**old, "format": 1}))
    opened = Dataset.open(dataset.folder)
    assert opened.manifest.text
    assert not opened.attributes.height
    assert opened.manifest.fingerprint == dataset.manifest.fingerprint


def test_items_that_have_ids_only(tmp_path: Path, capsys: Capture) -> None:
    """From the file to recommendations; systems that need text say so."""
    path = table(tmp_path, "user_id,item_id,day", "{user},{item},2024-01-1{n}")
    out, run = tmp_path / "data", tmp_path / "run"
    words = ["preprocess", str(path), "--format", "table", "--out", str(out), "--k-core", "2"]
    assert main(words) == 2
    assert "--no-text" in capsys.readouterr().err
    assert main([*words, "--no-text", "--encoder", "hashing"]) == 2
    assert not out.exists()
    assert main([*words, "--no-text"]) == 0
    assert "miracle train" in capsys.readouterr().err
    dataset = Dataset.open(out)
    assert not dataset.manifest.text
    assert dataset.items["title"].to_list() == list(ITEMS)
    np.testing.assert_array_equal(np.diff(dataset.offsets), [4] * len(USERS))
    assert main(["encode", str(out), "--encoder", "hashing"]) == 2
    assert "ids only" in capsys.readouterr().err
    assert main(["train", "--data", str(out), "--out", str(run)]) == 2
    assert "by their text" in capsys.readouterr().err
    assert not run.exists()
    assert main(["train", "--data", str(out), "--model", "popularity", "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["recommend", str(run), "--item", "w", "--json"]) == 0
    assert {item["title"] for item in json.loads(capsys.readouterr().out)["items"]} == set(ITEMS)


def test_atomic_files_without_items(tmp_path: Path) -> None:
    inter = [f"{user}\t{item}\t{n}" for user in USERS for n, item in enumerate(ITEMS)]
    (tmp_path / "S.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *inter]) + "\n"
    )
    with pytest.raises(InputError, match=r"S\.item"):
        read("atomic", [tmp_path])
    found = read("atomic", [tmp_path], ReadOptions(no_text=True))
    dataset = prepare(found, PrepareSettings(k_core=0), tmp_path / "data")
    assert dataset.items["item_id"].to_list() == list(ITEMS)
    assert not dataset.manifest.text


def test_a_list_is_several_values_and_one_text(tmp_path: Path) -> None:
    tags = [["Home, big", "Light;soft"], [], [" ", None, "Home, big"]]
    frame = pl.DataFrame({"user_id": list("uvw"), "item_id": list("abc"), "tags": tags})
    path = tmp_path / "t.parquet"
    frame.with_columns(title=pl.lit("T")).write_parquet(path)
    found = read("table", [path], ReadOptions(attributes=("tags",), text=("tags",)))
    assert found.attributes is not None
    assert found.attributes.rows() == [
        ("a", "tags", "Home, big"),
        ("a", "tags", "Light;soft"),
        ("c", "tags", "Home, big"),
    ]
    assert found.items["text"].to_list() == ["T. Home, big Light;soft", "T", "T. Home, big"]
