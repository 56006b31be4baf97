"""Paths: text or ``Path``, ``~``, names that are not UTF-8, and moved runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from miracle_cli.main import main
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


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """A link to itself."""
    link = tmp_path / "loop"
    link.symlink_to("loop")
    return link


def test_a_link_to_itself_is_refused(loop: Path) -> None:
    for named in (lambda: as_path(loop), lambda: as_path(loop / "x"),
                  lambda: from_portable("loop", loop.parent)):  # fmt: skip
        with pytest.raises(InputError, match="is a link that leads back to itself") as caught:
            named()
        assert str(caught.value.where).startswith(str(loop))
        assert caught.value.remedy == "name another path, or make the link again"


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is longer than the system allows"):
        as_path(tmp_path / ("a" * 5000))


@pytest.mark.parametrize(
    "args",
    [
        ["compare", "LOOP", "LOOP"],
        ["evaluate", "LOOP"],
        ["train", "--data", "LOOP", "--out", "OUT"],
        ["train", "--data", "OUT", "--out", "LOOP"],
        ["train", "--config", "LOOP", "--out", "OUT"],
        ["train", "--config", "CONFIG", "--out", "OUT"],
        ["preprocess", "LOOP", "--out", "OUT"],
        ["preprocess", "OUT", "--out", "LOOP"],
        ["recommend", "LOOP", "--user", "u"],
        ["report", "LOOP", "LOOP", "--out", "OUT"],
        ["update", "LOOP", "--data", "OUT", "--out", "OUT2"],
        ["experiment", "LOOP.toml", "--data", "LOOP", "--out", "OUT"],
        ["experiment", "table2", "--data", "LOOP", "--out", "OUT"],
        ["data", "show", "LOOP"],
        ["demo", "--out", "LOOP"],
    ],
    ids=" ".join,
)
def test_no_command_calls_such_a_link_a_bug(
    args: list[str], loop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text('data = "loop"\n')
    places = {"LOOP": loop, "OUT": tmp_path / "out", "OUT2": tmp_path / "out2", "CONFIG": config}
    code = main([str(places.get(arg, arg)) for arg in args])
    said = capsys.readouterr()
    assert "is a link that leads back to itself" in said.err
    assert (code, said.out) == (2, "")


def test_commands_are_quoted() -> None:
    assert command("miracle", "index", Path("my runs/a")) == "miracle index 'my runs/a'"
