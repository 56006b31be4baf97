"""``miracle encode``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from miracle_cli.main import main
from miracle_core.data.dataset import Dataset
from tests.text.support import TEXTS, save_tiny_bert, tiny_dataset


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRACLE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny_dataset(tmp_path / "data", TEXTS).folder


def test_json_and_nothing_else(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", str(data), "--encoder", "hashing:32", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    seconds = shown.pop("seconds")
    assert 0 <= seconds < 60
    identity = Dataset.open(data).feature_set("hashing:32").encoder
    assert shown == {
        "dataset": "shop",
        "items": 40,
        "file": "features.hashing%3A32.npy",
        "dtype": "float16",
        "encoder": identity.model_dump(),
    }
    assert np.load(data / shown["file"]).shape == (40, 32)


def test_a_folder_is_named_by_its_last_part(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bert = save_tiny_bert(tmp_path / "models" / "tiny")
    assert main(["encode", str(data), "--encoder", f"{bert}:mean"]) == 0
    said = capsys.readouterr()
    assert "features.tiny%3Amean.npy" in said.out
    assert str(tmp_path) not in said.out
    assert "encode with tiny:mean (40 texts)" in said.err
    assert Dataset.open(data).features("tiny:mean").shape == (40, 16)


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [("hashing:x", "is not a width"), ("./nowhere", "no such folder"), ("a:b", "is not a pooling")],
)
def test_a_bad_encoder_exits_2_and_writes_nothing(
    data: Path, encoder: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in data.iterdir())
    assert main(["encode", str(data), "--encoder", encoder]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert expected in said.err
    assert sorted(path.name for path in data.iterdir()) == before


def test_no_dataset_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", str(tmp_path / "none"), "--encoder", "hashing"]) == 2
    assert "not a Dataset folder" in capsys.readouterr().err
