"""Each known kind of bad input, in files of every layout.

Unlike in ``test_fuzz.py``, nothing here is random.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from miracle_cli.main import main
from miracle_core.data.readers import ReadOptions, read
from miracle_core.errors import InputError
from tests.data.damage import MARKUP, SEEDS, attempt

TITLES = rb"Lamp|Mug|Blue|Glue|HOLDER|LANTERN|Bat|Heat|Story|Home"
TIMES = rb"\b(\d{9,13}|12/1/2010|2018-01-0\d)\b"
RATINGS = rb"(?<=[,\t: ])[1-5](?:\.0)?(?=[,\t:}])"


def every_line(content: bytes, change: Callable[[bytes], bytes], first: int = 1) -> bytes:
    rows = content.split(b"\n")
    return b"\n".join([*rows[:first], *map(change, rows[first:])])


def hostile_titles(content: bytes) -> bytes:
    evil = b"".join(MARKUP)
    if content.lstrip()[:1] == b"{":  # control characters inside a string are escaped
        text = evil.decode(errors="replace")
        evil = json.dumps(text)[1:-1].encode()
    return re.sub(TITLES, lambda match: match[0] + evil, content)


def nested(content: bytes) -> bytes:
    deep = b"[" * 100_000 + b"]" * 100_000
    return content + b'{"asin": ' + deep + b', "title": "t"}\n{"deep": ' + deep + b"}\n"


def bomb(content: bytes) -> bytes:
    return gzip.compress(content + b"\0" * (40 << 20), mtime=0)


def zip_of(name: str) -> Callable[[bytes], bytes]:
    def make(content: bytes) -> bytes:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        return sink.getvalue()

    return make


def bits(content: bytes) -> bytes:
    changed = bytearray(content)
    for at in range(7, len(changed), 97):
        changed[at] ^= 1 << at % 8
    return bytes(changed)


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "truncated gzip": lambda content: gzip.compress(content, mtime=0)[: len(content) // 3],
    "gzip with a flipped bit": lambda content: bits(gzip.compress(content, mtime=0)),
    "flipped bits": bits,
    "mark": lambda content: b"\xef\xbb\xbf" + content,
    "carriage returns": lambda content: content.replace(b"\n", b"\r\n"),
    "nul bytes": lambda content: every_line(content, lambda row: row[:3] + b"\0" + row[3:]),
    "header twice": lambda content: content.split(b"\n")[0] + b"\n" + content,
    "header in the middle": lambda content: content + content.split(b"\n")[0] + b"\n",
    "columns named twice": lambda content: re.sub(rb"^([^,\t\n]+)([,\t])", rb"\1\2\1\2", content),
    "mixed types": lambda content: re.sub(TIMES, b"soon", content, count=1),
    "no number at all": lambda content: re.sub(TIMES, b"soon", content),
    "negative times": lambda content: re.sub(TIMES, rb"-\1", content),
    "one time in milliseconds": lambda content: re.sub(TIMES, rb"\g<1>000", content, count=1),
    "huge times": lambda content: re.sub(TIMES, b"9" * 40, content),
    "prices for ratings": lambda content: re.sub(RATINGS, b"$3.99", content),
    "one price among ratings": lambda content: re.sub(RATINGS, b"3.99 EUR", content, count=1),
    "hostile titles": hostile_titles,
    "nested JSON": nested,
    "blank lines": lambda content: b"\n\n" + content.replace(b"\n", b"\n\n\n"),
    "names outside an archive": zip_of("../../shop.csv"),
    "an absolute name in an archive": zip_of("/etc/shop.csv"),
    "nothing": lambda _: b"",
}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """This file writes hundreds of small folders; syncing to disk is tested elsewhere."""
    for name in ("sync", "sync_folder"):
        monkeypatch.setattr(f"miracle_core.files.{name}", lambda _: None)


def put(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_file(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for form, seed in SEEDS:
        for name in seed:
            files = {**seed, name: KINDS[kind](seed[name])}
            for skip in ("stop", "skip"):
                folder = put(tmp_path / "raw", files)
                asked = {"time": "when"} if form == "table" else {}
                rated = form not in ("table", "steam") and "rating" in kind
                asked_for = form if skip == "stop" else "auto"
                options = ReadOptions(on_error=skip, with_ratings=rated, **asked)
                attempt(asked_for, folder, options)
    out = tmp_path / "out"
    code = main(["preprocess", str(tmp_path / "raw"), "--out", str(out), "--k-core", "0"])
    assert code in (0, 2)
    said = "".join(capsys.readouterr())
    assert not {"\x1b", "\x9b", "\x07"} & set(said)
    assert "Traceback" not in said


def test_hostile_titles_stay_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are displayed as they are, but without control characters."""
    rows = "".join(f"u{n % 4},i{n % 5},{n}\n" for n in range(40))
    folder = put(tmp_path / "raw", {"shop.csv": b"user_id,item_id,when\n" + rows.encode()})
    titles = [f"i{n},{MARKUP[n % len(MARKUP)].decode(errors='replace')} Lamp" for n in range(5)]
    items = tmp_path / "goods.csv"
    items.write_text("\n".join(["item_id,title", *titles]) + "\n")
    out = tmp_path / "out"
    command = ["preprocess", str(folder / "shop.csv"), "--items", str(items), "--out", str(out)]
    evil = "[bold red]\x1b[31mname[/]"
    assert main([*command, "--k-core", "0", "--name", evil]) == 0
    assert main(["data", "show", str(out)]) == 0
    assert main(["data", "verify", str(out)]) == 0
    said = "".join(capsys.readouterr())
    assert "[bold red] [31mname[/]" in said
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(said)


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_bombs_in_every_layout(tmp_path: Path, seed: int) -> None:
    form, files = SEEDS[seed]
    name = sorted(files)[0]
    folder = put(tmp_path / "raw", {**files, name: bomb(files[name])})
    options = ReadOptions(**({"time": "when"} if form == "table" else {}))
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"unpacks to more than|can't be read as a workbook"):
        read(form, sorted(folder.iterdir()), options)
    assert time.monotonic() - begun < 60


def test_there_are_as_many_cases_as_it_seems() -> None:
    assert len(KINDS) * sum(len(files) for _, files in SEEDS) * 2 >= 1000
