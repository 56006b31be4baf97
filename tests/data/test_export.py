"""Write a Dataset as atomic files and read it back."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from miracle_core.data.dataset import Dataset
from miracle_core.data.export import export_atomic
from miracle_core.data.interactions import Interactions
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.errors import InputError


def dataset(folder: Path, name: str = "toy", user: str = "u", **options: object) -> Dataset:
    rows = [(user, item, n) for n, item in enumerate("abcabd")]
    rows += [("v", item, n) for n, item in enumerate("dcb")] + [("w", "a", 0), ("w", "b", 1)]
    events = pl.DataFrame(rows, ["user_id", "item_id", "time"], orient="row")
    items = pl.DataFrame(
        {"item_id": list("abcd"), "title": list("ABCD"), "text": ['A. "x"', "B", "C", "D"]}
    )
    found = Interactions.checked(events, items, name=name)
    return prepare(found, PrepareSettings(k_core=0, **options), folder)


def test_files(tmp_path: Path) -> None:
    paths = export_atomic(dataset(tmp_path / "data"), tmp_path / "out", cap=3)
    found = {path.name: path.read_text() for path in paths}
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    assert found == {
        "toy.train.inter": header + "0\t0 1 2\t0\n0\t0 1\t2\n0\t0\t1\n2\t0\t1\n",
        "toy.valid.inter": header + "0\t1 2 0\t1\n1\t3\t2\n",
        "toy.test.inter": header + "0\t2 0 1\t3\n1\t3 2\t1\n",
        "toy.item2index": "a\t0\nb\t1\nc\t2\nd\t3\n",
        "toy.user2index": "u\t0\nv\t1\nw\t2\n",
        "toy.text": 'item_id:token\ttext:token_seq\na\tA. "x"\nb\tB\nc\tC\nd\tD\n',
        "toy.item": 'item_id:token\ttitle:token_seq\ttext:token_seq\n0\tA\tA. "x"\n1\tB\tB\n'
        "2\tC\tC\n3\tD\tD\n",
    }


def test_a_split_by_time_is_written_as_it_is(tmp_path: Path) -> None:
    options = {"split": "temporal", "valid_from": "2", "test_from": "4"}
    paths = export_atomic(dataset(tmp_path / "data", **options), tmp_path / "out")
    rows = {path.name: path.read_text().splitlines()[1:] for path in paths}
    assert rows["toy.valid.inter"] == ["0\t0 1\t2", "1\t3 2\t1"]
    assert rows["toy.test.inter"] == ["0\t0 1 2 0\t1"]


def test_what_is_there_stays(tmp_path: Path) -> None:
    found = dataset(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(InputError, match="not overwritten"):
        export_atomic(found, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["../../evil", "a/b c", "..", "\x1b[31m"])
def test_no_name_leads_outside(tmp_path: Path, name: str) -> None:
    paths = export_atomic(dataset(tmp_path / "data", name), tmp_path / "out")
    assert {path.parent for path in paths} == {tmp_path / "out"}
    assert len(paths) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_an_id_that_cant_be_written(tmp_path: Path) -> None:
    found = dataset(tmp_path / "data", user="u\t1")
    with pytest.raises(InputError, match="tab"):
        export_atomic(found, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.real_data
def test_scientific_there_and_back(tmp_path: Path, real_data: Path) -> None:
    source = real_data / "scientific"
    found = prepare(read("atomic", [source]), PrepareSettings(), tmp_path / "data")
    export_atomic(found, tmp_path / "out")
    # The published split is reproduced byte for byte.
    for ending in ("train.inter", "valid.inter", "test.inter", "item2index", "user2index"):
        ours = (tmp_path / "out" / f"Scientific.{ending}").read_bytes()
        assert ours == (source / f"Scientific.{ending}").read_bytes(), ending
    again = prepare(read("atomic", [tmp_path / "out"]), PrepareSettings(), tmp_path / "again")
    assert again.manifest.files == found.manifest.files
