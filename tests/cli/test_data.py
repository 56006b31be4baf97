"""``miracle data``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from miracle_cli.main import main
from miracle_core.data.dataset import Dataset, EncoderIdentity
from miracle_core.data.writing import write_features

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, capsys: Capture) -> Path:
    """Users with 1 to 12 items, and text features."""
    rows = [f"u{user},i{n},\x1b[31mTitle {n}" for user in range(12) for n in range(user + 1)]
    source = tmp_path / "log.csv"
    source.write_text("\n".join(["user_id,item_id,title", *rows]) + "\n")
    out = tmp_path / "out"
    command = ["preprocess", str(source), "--format", "table", "--out", str(out), "--k-core", "2"]
    assert main(command) == 0
    identity = EncoderIdentity(
        name="hashing:4", revision="r" * 40, pooling="none", max_length=0, width=4
    )
    write_features(out, np.ones((11, 4), dtype=np.float32), identity)
    capsys.readouterr()
    return out


def test_show(folder: Path, capsys: Capture) -> None:
    assert main(["data", "show", str(folder)]) == 0
    out = capsys.readouterr().out
    table = [line.split() for line in out.splitlines()]
    # The 2-core loses u0 (one item) and i11 (one user); then u1 to u11 have 2 to 11 items.
    assert ["log", "11", "11", "76", "62.810%", "6.91"] in table
    assert ["as", "read", "12", "12", "78"] in table
    assert ["2-core", "11", "11", "76"] in table
    assert ["2", "1", "█" * 10] in table
    assert ["10-14", "3", "█" * 30] in table
    assert any("hashing:4" in row for row in table)
    assert any("log.csv" in row for row in table)


def test_show_json(folder: Path, capsys: Capture) -> None:
    assert main(["data", "show", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    found = orjson.loads(out)
    assert err == ""
    assert (found["dataset"], found["users"], found["items"]) == ("log", 11, 11)
    assert found["density"] == pytest.approx(76 / 121)
    assert sum(length["users"] for length in found["lengths"]) == 11
    assert found["features"]["hashing:4"]["width"] == 4
    assert found["sources"][0]["file"] == "log.csv"


def test_verify(folder: Path, capsys: Capture) -> None:
    assert main(["data", "verify", str(folder)]) == 0
    out = capsys.readouterr().out
    assert all(line.startswith("good  ") for line in out.splitlines())
    assert main(["data", "verify", str(folder), "--json"]) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert found["good"] is True
    assert [f"good  {check}" for check in found["checks"]] == out.splitlines()


@pytest.mark.parametrize("name", ["sequences.npy", "items.parquet", "features.hashing%3A4.npy"])
def test_verify_finds_one_changed_bit(folder: Path, name: str, capsys: Capture) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-6] ^= 1
    (folder / name).write_bytes(bytes(content))
    assert main(["data", "verify", str(folder), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"where: {folder / name}" in err
    assert "has changed" in err


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda m: m["settings"].update(user_core=9), "says user_core 9, but a user has"),
        (lambda m: m["settings"].update(item_core=9), "says item_core 9, but an item has"),
        (lambda m: m["settings"].update(max_length=3), "says max_length 3, but a user has"),
        (lambda m: m["counts"].update(repeats=1), "says 1 repeated interactions, but there are 0"),
        (lambda m: m["counts"]["steps"][-1].update(users=99), "says that its last step left (99,"),
        (lambda m: m.update(split_hash="0" * 64), "its split hash is not that of its files"),
    ],
)
def test_verify_finds_a_manifest_that_says_something_else(
    folder: Path, change: Callable[[dict[str, Any]], object], what: str, capsys: Capture
) -> None:
    path = folder / "manifest.json"
    manifest = orjson.loads(path.read_bytes())
    change(manifest)
    path.write_bytes(orjson.dumps(manifest))
    assert main(["data", "verify", str(folder)]) == 2
    err = capsys.readouterr().err
    assert what in err
    assert f"where: {path}" in err


def test_datasets_without_a_split_hash_are_older(folder: Path, capsys: Capture) -> None:
    path = folder / "manifest.json"
    manifest = orjson.loads(path.read_bytes())
    del manifest["split_hash"]
    path.write_bytes(orjson.dumps(manifest))
    assert main(["data", "verify", str(folder)]) == 0
    assert "split hash" in capsys.readouterr().out


def test_show_tells_every_setting_and_the_split_hash(folder: Path, capsys: Capture) -> None:
    assert main(["data", "show", str(folder)]) == 0
    out = capsys.readouterr().out
    assert Dataset.open(folder).manifest.fingerprint in out
    rows = [line.split() for line in out.splitlines()]
    assert ["repeats", "keep"] in rows
    assert ["read.format", "table"] in rows


@pytest.mark.parametrize("command", ["show", "verify"])
def test_what_is_no_dataset(tmp_path: Path, command: str, capsys: Capture) -> None:
    assert main(["data", command, str(tmp_path)]) == 2
    assert "miracle preprocess" in capsys.readouterr().err


def test_show_popularity_and_cold_items(folder: Path, capsys: Capture) -> None:
    assert main(["data", "show", str(folder)]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    # Two of the eleven items have 11 interactions each, out of 76.
    assert next(row for row in table if row[:1] == ["10%"])[:2] == ["10%", "28.9%"]
    assert ["100%", "100.0%", "█" * 30] in table
    assert any("cold items" in " ".join(row) for row in table)


def test_export(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    # Every user has at least three items; shorter ones have no test row to read back.
    log, data = str(tmp_path / "log.csv"), tmp_path / "data"
    assert main(["preprocess", log, "--k-core", "3", "--out", str(data)]) == 0
    capsys.readouterr()
    command = ["data", "export", str(data), "--to", "atomic", "--out", str(tmp_path / "atomic")]
    assert main([*command, "--json"]) == 0
    files = orjson.loads(capsys.readouterr().out)["files"]
    assert "log.test.inter" in files
    assert main(command) == 2
    assert "not overwritten" in capsys.readouterr().err
    again = tmp_path / "again"
    assert main(["preprocess", str(tmp_path / "atomic"), "--out", str(again)]) == 0
    for name in ("sequences.npy", "offsets.npy", "users.parquet", "items.parquet"):
        assert (again / name).read_bytes() == (data / name).read_bytes()
