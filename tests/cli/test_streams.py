"""Output streams that are closed, full or limited in encoding, and raw shell arguments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from miracle_cli.main import main
from tests.support.written import dataset


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command; ``$M`` is the program."""
    given = {**os.environ, "M": f"{sys.executable} -m miracle_cli", **environment}
    return subprocess.run(["sh", "-c", line], env=given, capture_output=True, timeout=120)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A Dataset whose name can't be written in any 8-bit encoding."""
    dataset(tmp_path / "shop")
    manifest = tmp_path / "shop" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"shop"', '"café 店"'), encoding="utf-8")
    return tmp_path / "shop"


def test_a_character_that_the_encoding_lacks_is_replaced(shop: Path) -> None:
    ran = shell(f"$M data show '{shop}'", PYTHONIOENCODING="latin-1")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert "café ?".encode("latin-1") in ran.stdout


def test_json_in_such_an_encoding_loses_nothing(shop: Path) -> None:
    ran = shell(f"$M data show --json '{shop}'", PYTHONIOENCODING="latin-1")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert json.loads(ran.stdout.decode("latin-1"))["dataset"] == "café 店"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_bug(closed: str) -> None:
    ran = shell(f"$M download {closed}")
    assert ran.returncode == 0
    assert ran.stderr == b""
    ran = shell(f"$M download none {closed}")
    assert ran.returncode == 2


def test_what_is_printed_into_a_closed_stream_reaches_no_file(tmp_path: Path) -> None:
    """The next file that a program opens gets the descriptor of a closed stream."""
    source = tmp_path / "shop.csv"
    rows = [f"u{u},i{i},Lamp {i},{u * 10 + i}" for u in range(6) for i in range(6)]
    source.write_text("user_id,item_id,title,time\n" + "\n".join(rows) + "\n")
    line = f"$M preprocess '{source}' --format table --time-column time --out '{tmp_path}/%s' %s"
    assert shell(line % ("one", "")).returncode == 0
    assert shell(line % ("two", ">&- 2>&-")).returncode == 0
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_full_output_is_a_failed_run() -> None:
    ran = shell("$M download > /dev/full")
    assert ran.returncode == 1
    said = ran.stderr.decode().splitlines()
    assert said[0] == "error: the output can't be written: No space left on device"
    assert said[1] == "where: standard output"
    assert shell("$M download 2> /dev/full").returncode == 0  # nowhere to report it


def test_an_argument_that_is_not_utf8_is_refused() -> None:
    ran = shell("$M preprocess \"$(printf 'caf\\351.csv')\" --format table --out x")
    assert ran.returncode == 2
    assert b"error: is not UTF-8 text\nwhere: caf\\xe9.csv\n" in ran.stderr


@pytest.mark.parametrize("form", ["--out=~/x", "--out ~/x"])
def test_a_tilde_that_the_shell_left_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.csv").write_text(
        "user_id,item_id,title\n" + "".join(f"u{u},i{i},Lamp\n" for u in range(6) for i in range(6))
    )
    assert main(["preprocess", "~/shop.csv", "--format", "table", *form.split(" ")]) == 0
    assert (tmp_path / "x" / "manifest.json").is_file()
    assert not (tmp_path / "~").exists()
