"""Paths: text or ``Path``, ``~``, names that are not UTF-8, and moved runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from miracle_core.data.readers import read
from miracle_core.errors import InputError, command
from miracle_core.paths import as_path, from_portable, portable


def test_text_and_paths_and_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert as_path("a/b") == as_path(Path("a/b")) == Path("a/b")
    assert as_path("~/x") == as_path(Path("~/x")) == Path("/home/ann/x")
    assert as_path("a~/~") == Path("a~/~")


def test_a_path_is_named_from_a_folder_and_found_again(tmp_path: Path) -> None:
    run, data = tmp_path / "runs" / "a", tmp_path / "data" / "shop"
    assert portable(data, run) == "../../data/shop"
    assert from_portable("../../data/shop", run) == str(data)
    assert from_portable(str(data), run) == str(data)  # as in older runs


def test_a_name_that_is_not_utf8_is_refused_before_reading(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    try:
        (tmp_path / name).write_text("user_id,item_id,title\nu,i,t\n")
    except OSError:
        pytest.skip("this file system takes no such name")
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(InputError) as caught:
            read("auto", [source])
        assert "not UTF-8" in caught.value.what
        assert str(caught.value.where).endswith("caf\\xe9.csv")
        assert caught.value.remedy == "rename the file or folder"


def test_commands_are_quoted() -> None:
    assert command("miracle", "index", Path("my runs/a")) == "miracle index 'my runs/a'"
