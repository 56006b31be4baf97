"""A full disk: the message names file, place and size, and earlier files are kept."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from miracle_core.disk import is_full, size_text
from miracle_core.errors import MiracleError
from miracle_core.files import replacing, replacing_folder, write_json
from tests.support.warm import Warm
from tests.support.written import dataset


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm("tests.support.written") as process:
        yield process


def content(place: Path) -> dict[str, bytes]:
    files = [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("kind", "name", "takes"),
    [
        ("json", "a.json", "100.0 kB"),
        ("tensors", "model.safetensors", "400.0 kB"),
        ("dataset", "data", "600"),
        ("features", "data", "320.0 kB"),
    ],
)
def test_every_writer_says_so(warm: Warm, tmp_path: Path, kind: str, name: str, takes: str) -> None:
    """The system refuses to let a file grow, as on a full disk. Libraries report this in
    different ways."""
    place, said = tmp_path / "place" / name, tmp_path / "said"
    if kind in ("dataset", "features"):
        dataset(place)
    else:
        write_json(place, "before")
    before = content(place)
    assert warm.run("full_disk", kind, str(place), str(said)) == 0
    told = json.loads(said.read_text())
    assert told["exit"] == 1
    assert told["what"].startswith("the disk is full: ")
    assert f"takes about {takes}" in told["what"]
    assert "were written" in told["what"]
    assert str(place) in told["where"]
    assert "make room" in told["fix"]
    assert content(place) == before
    assert [path.name for path in place.parent.iterdir()] == [name]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (OSError("1000 requested and 24 written"), True),  # numpy
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),  # Rust
        (RuntimeError("os error 281"), False),
        (ValueError("full"), False),
    ],
)
def test_what_libraries_say_of_a_full_disk(error: Exception, full: bool) -> None:
    assert is_full(error) is full
    outer = RuntimeError("outer")
    outer.__cause__ = error
    assert is_full(outer) is full


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), replacing(tmp_path / "a"):
        raise ValueError("mine")
    with pytest.raises(MiracleError) as caught, replacing(tmp_path / "a") as beside:
        beside.write_bytes(b"x" * 1500)
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "takes more than the 1.5 kB that were written" in caught.value.what
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_named_as_people_know_it(tmp_path: Path) -> None:
    with (
        pytest.raises(MiracleError) as caught,
        replacing_folder(tmp_path / "run") as beside,
        replacing(beside / "deep" / "a", needed=9),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.where == str(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_sizes_as_people_read_them() -> None:
    sizes = {
        0: "0 bytes",
        999: "999 bytes",
        1000: "1.0 kB",
        2_500_000: "2.5 MB",
        10**16: "10000.0 TB",
    }
    assert {size: size_text(size) for size in sizes} == sizes
