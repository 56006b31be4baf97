"""Replacing files and folders: a kill at any system call loses nothing."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from miracle_core import files
from miracle_core.errors import InputError
from miracle_core.exchange import exchange
from miracle_core.files import (
    remove_leftovers,
    replacing,
    replacing_folder,
    restore,
    write_json,
    write_text,
)
from miracle_core.runs.tensors import load_tensors
from tests.support.killed import fill
from tests.support.warm import Warm


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm("tests.support.killed") as process:
        yield process


@pytest.fixture(scope="module")
def warm_tensors() -> Iterator[Warm]:
    with Warm("tests.support.written") as process:
        yield process


def words(folder: Path) -> set[str]:
    """The contents of a folder's files; all three must be there."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert sorted(path.name for path in found) == ["one", "three", "two"]
    return {path.read_text() for path in found}


@pytest.mark.parametrize("in_one_step", [True, False], ids=["exchange", "two renames"])
def test_a_folder_is_the_old_or_the_new_one_whenever_its_writer_is_killed(
    warm: Warm, tmp_path: Path, in_one_step: bool
) -> None:
    folder, counted = tmp_path / "run", tmp_path / "counted"
    fill(folder, "old")
    assert warm.run("swap", str(folder), "new", in_one_step, 0, str(counted)) == 0
    calls = int(counted.read_text())
    assert calls >= 100
    seen = set()
    for at in range(1, calls + 1):
        before, word = words(folder), f"word {at}"
        ended = warm.run("swap", str(folder), word, in_one_step, at, str(counted))
        assert ended == -signal.SIGKILL, at
        if in_one_step:
            assert folder.is_dir(), at  # readers always find the folder
        restore(folder)
        now = words(folder)
        assert now in (before, {word}), at
        seen.add(now == before)
    assert seen == {True, False}
    fill(folder, "last")
    assert words(folder) == {"last"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counted", "run"]


def test_a_checkpoint_is_the_old_or_the_new_one_whenever_its_writer_is_killed(
    warm_tensors: Warm, tmp_path: Path
) -> None:
    path, counted = tmp_path / "state.safetensors", tmp_path / "counted"
    assert warm_tensors.run("checkpoint", str(path), 0.5, 0, str(counted)) == 0
    calls = int(counted.read_text())
    assert calls >= 6
    before = 0.5
    for at in range(1, calls + 1):
        assert (
            warm_tensors.run("checkpoint", str(path), float(at), at, str(counted))
            == -signal.SIGKILL
        )
        tensors, metadata = load_tensors(path)
        value = float(metadata["value"])
        assert value in (before, float(at))
        assert all((tensor == value).all() for tensor in tensors.values())
        before = value
    assert before == calls  # the last kills come after the rename
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["counted", "state.safetensors"]


def test_when_the_second_rename_fails_the_first_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    fill(folder, "old")
    monkeypatch.setattr(files, "exchange", lambda *_: False)
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(errno.EBUSY, "Device or resource busy", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="busy"):
        fill(folder, "new")
    assert words(folder) == {"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_folders_change_places_in_one_step_where_linux_can(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system or file system can't exchange")
    assert (tmp_path / "a" / "b").is_file()
    assert (tmp_path / "b" / "a").is_file()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "none")


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "large disk" / "run").mkdir(parents=True)
    (tmp_path / "run").symlink_to(tmp_path / "large disk" / "run")
    fill(tmp_path / "run", "new")
    assert (tmp_path / "run").is_symlink()
    assert words(tmp_path / "large disk" / "run") == {"new"}


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "large disk" / "recs.csv").write_text("old")
    (tmp_path / "recs.csv").symlink_to(Path("large disk", "recs.csv"))
    write_text(tmp_path / "recs.csv", "new")
    assert (tmp_path / "recs.csv").is_symlink()
    assert (tmp_path / "large disk" / "recs.csv").read_text() == "new"


def test_a_pipe_or_a_device_is_never_replaced(tmp_path: Path) -> None:
    """As root, a file would take the place of ``/dev/null``, for all programs."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(InputError, match="is a device or a pipe"):
            write_text(path, "new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(tmp_path.iterdir()) == [link, pipe]


def test_a_file_is_no_folder_to_replace(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("precious")
    with pytest.raises(InputError, match="not a folder"):
        fill(tmp_path / "run", "new")
    assert (tmp_path / "run").read_text() == "precious"


def test_leftovers_of_others_stay(tmp_path: Path) -> None:
    mine = [".run.0123abcd.part", ".run.0123abcd.old"]
    theirs = [".run.b.0123abcd.part", ".run.part", "run.0123abcd.part", ".ru.0123abcd.part"]
    for name in (*mine, *theirs):
        (tmp_path / name).mkdir()
    fill(tmp_path / "run", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*theirs, "run"])


def test_modes_are_those_of_any_new_file_and_the_mask_is_never_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("umask is of all threads"))
        with replacing_folder(tmp_path / "folder") as beside:
            write_text(beside / "file", "x")
            with replacing(beside / "other") as other:
                Path(f"{other}.own").touch(0o600)  # as some libraries create and rename files
                Path(f"{other}.own").replace(other)
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750
    for name in ("file", "other"):
        assert stat.S_IMODE((tmp_path / "folder" / name).stat().st_mode) == 0o640


def test_windows_opens_no_folder_to_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def strict(path: Path, flags: int, *rest: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        assert flags & (os.O_RDWR | os.O_WRONLY), "Windows syncs only what may be written"
        return opened(path, flags, *rest)

    monkeypatch.setattr(files, "_WINDOWS", True)
    monkeypatch.setattr(files.os, "open", strict)
    write_json(tmp_path / "a.json", 1)
    with files.replacing(tmp_path / "b") as beside:
        beside.write_text("b")
    files._sync_all(tmp_path)
    assert (tmp_path / "b").read_text() == "b"


def test_text_is_a_path_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_json("~/a.json", [1])
    assert files.read_json(str(tmp_path / "a.json")) == [1]
    with replacing(str(tmp_path / "b")) as beside:
        beside.write_text("b")
    fill("~/c", "c")
    assert words(tmp_path / "c") == {"c"}


def test_threads_that_replace_one_file_do_not_meet(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=write_text, args=(tmp_path / "a", str(n) * 1000)) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = (tmp_path / "a").read_text()
    assert text == text[0] * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
