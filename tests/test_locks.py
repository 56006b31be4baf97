"""One writer per folder: a second one is refused and told why; a lock ends with its process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from miracle_core import locks
from miracle_core.data.prepare import check_out
from miracle_core.data.writing import write_features
from miracle_core.errors import InputError
from miracle_core.files import replacing_folder
from miracle_core.locks import one_writer
from tests.support.killed import fill
from tests.support.warm import Warm
from tests.support.written import dataset, identity


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm("tests.support.killed") as process:
        yield process


@pytest.fixture
def held(warm: Warm, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A Dataset folder that another process has locked; the process is ended afterwards."""
    place, begun = tmp_path / "place", tmp_path / "begun"
    dataset(place)
    holder = threading.Thread(target=warm.run, args=("hold", str(place), str(begun)))
    holder.start()
    deadline = time.monotonic() + 20
    while not (begun.exists() and begun.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    pid = int(begun.read_text())
    yield place, pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    holder.join(20)
    assert not holder.is_alive()


def test_the_second_writer_is_told_who_the_first_is(held: tuple[Path, int]) -> None:
    place, pid = held
    writers = [
        lambda: fill(place, "other"),
        lambda: fill(place.parent / "x" / ".." / "place", "other"),
        lambda: check_out(place),
        lambda: write_features(place, np.zeros((4, 1), np.float32), identity(1)),
    ]
    (place.parent / "x").mkdir()
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    for write in writers:
        with pytest.raises(InputError) as caught:
            write()
        assert "miracle finetune --out 'my runs/a'" in caught.value.what
        assert f"process {pid} on {socket.gethostname()}" in caught.value.what
        assert str(place.name) in str(caught.value.where)
        assert caught.value.remedy
    # Readers are not blocked, and nothing has changed.
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_killed_holder_holds_nothing(held: tuple[Path, int]) -> None:
    place, pid = held
    lock = place.with_name(".place.lock")
    assert json.loads(lock.read_text())["pid"] == pid
    os.kill(pid, signal.SIGKILL)
    with one_writer(place):  # the lock of a dead process is released almost at once
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()


def test_one_thread_may_nest_it_and_another_thread_may_not(tmp_path: Path) -> None:
    place, refused = tmp_path / "place", []

    def other() -> None:
        try:
            with one_writer(place):
                pass
        except InputError as error:
            refused.append(error)

    def tried() -> int:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return len(refused)

    with one_writer(place):
        with one_writer(str(place)):
            assert tried() == 1
        assert tried() == 2  # leaving the inner block does not release the lock
    assert tried() == 2


def test_no_litter(tmp_path: Path) -> None:
    with one_writer(tmp_path / "new" / "deep" / "place"):
        assert (tmp_path / "new" / "deep").is_dir()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="x"), replacing_folder(tmp_path / "new" / "place"):
        raise ValueError("x")
    assert list(tmp_path.iterdir()) == []
    with replacing_folder(tmp_path / "kept" / "place"):
        pass
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["place"]


def test_two_names_of_one_folder_have_one_lock(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert locks._lock_file(tmp_path / "link") == locks._lock_file(tmp_path / "real")


def test_where_only_the_folder_may_be_written_the_lock_lies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(locks.os, "access", lambda path, mode: path != tmp_path)
    with one_writer(place):
        assert [path.name for path in place.iterdir()] == [".lock"]
    assert list(place.iterdir()) == []
