"""``miracle download`` from a server on this machine; the network is never used."""

from __future__ import annotations

import hashlib
import shlex
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from miracle_cli.main import main
from miracle_core.data import download as module
from miracle_core.data.download import PublicData, RemoteFile, catalogue
from miracle_core.locks import one_writer
from tests.support.killed import data_at
from tests.support.warm import Warm

Capture = pytest.CaptureFixture[str]
CONTENT = b"user_id,item_id,title\n" + b"u,a,Lamp\n" * 300_000


class Server(ThreadingHTTPServer):
    """Serve CONTENT; ``breaks`` cuts off the first answers, ``tag`` names the version."""

    breaks = 0
    tag = '"one"'
    content = CONTENT
    length_stated = True
    ranges: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/none":
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = 0
        if asked and self.headers.get("If-Range") == self.server.tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        content = self.server.content
        if start >= len(content):
            self.send_response(416)
            if self.server.length_stated:
                self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", self.server.tag)
        self.end_headers()
        body = content[start:]
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.ranges = []
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{running.server_address[1]}"
        sums = {"md5": hashlib.md5(CONTENT).hexdigest()}
        files = {
            "shop": RemoteFile(f"{url}/shop.csv", **sums),
            "wrong": RemoteFile(f"{url}/shop.csv", sha256="0" * 64),
            "gone": RemoteFile(f"{url}/none"),
            "dead": RemoteFile("http://127.0.0.1:9/shop.csv"),
        }
        entries = {
            name: PublicData(
                name, "A shop", "https://example.org/page", "CC0", "Us. 2024.", "table", (file,)
            )
            for name, file in files.items()
        }
        monkeypatch.setattr(module, "catalogue", lambda: entries)
        monkeypatch.setenv("no_proxy", "*")
        yield running
        running.shutdown()
        thread.join()


def test_licence_first_then_the_file(server: Server, tmp_path: Path, capsys: Capture) -> None:
    assert main(["download", "shop", "--out", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    said = err.splitlines()
    assert said[1:3] == ["licence:  CC0", "cite:     Us. 2024."]
    assert any("loading shop.csv" in line for line in said[4:])
    (file,) = orjson.loads(out)["files"]
    assert file["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["shop.csv"]
    assert main(["download", "shop", "--out", str(tmp_path)]) == 0  # it is already there
    assert server.ranges == [None]


def test_a_broken_download_goes_on(server: Server, tmp_path: Path, capsys: Capture) -> None:
    server.breaks = 1
    assert main(["download", "shop", "--out", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "broke off" in err
    assert "https://example.org/page" in err
    assert not (tmp_path / "shop.csv").exists()
    half = (tmp_path / "shop.csv.part").stat().st_size
    assert 0 < half < len(CONTENT)
    assert main(["download", "shop", "--out", str(tmp_path)]) == 0
    assert server.ranges == [None, f"bytes={half}-"]
    assert (tmp_path / "shop.csv").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["shop.csv"]


def test_a_file_that_changed_meanwhile_starts_again(server: Server, tmp_path: Path) -> None:
    server.breaks = 1
    assert main(["download", "shop", "--out", str(tmp_path)]) == 1
    server.tag = '"two"'
    assert main(["download", "shop", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "shop.csv").read_bytes() == CONTENT


@pytest.mark.parametrize("stated", [True, False])
def test_killed_after_the_last_byte_it_is_complete(
    server: Server, tmp_path: Path, stated: bool
) -> None:
    """The server then has nothing left to send, and answers 416."""
    server.length_stated = stated
    (tmp_path / "shop.csv.part").write_bytes(CONTENT)
    (tmp_path / "shop.csv.part.json").write_bytes(orjson.dumps({"tag": server.tag}))
    assert main(["download", "shop", "--out", str(tmp_path)]) == 0
    assert server.ranges == [f"bytes={len(CONTENT)}-"]
    assert (tmp_path / "shop.csv").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["shop.csv"]


@pytest.mark.parametrize("stated", [True, False])
def test_too_many_bytes_are_not_taken_for_the_file(
    server: Server, tmp_path: Path, stated: bool
) -> None:
    """Without a hash the length decides. If the server states no length, load everything again."""
    server.length_stated = stated
    (tmp_path / "shop.csv.part").write_bytes(CONTENT + b"more")
    (tmp_path / "shop.csv.part.json").write_bytes(orjson.dumps({"tag": server.tag}))
    url = f"http://127.0.0.1:{server.server_address[1]}/shop.csv"
    (path,) = module.download(data_at(url), str(tmp_path))
    assert path.read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_a_hash_that_differs_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "shop.csv.part").write_bytes(b"x" * len(CONTENT))
    (tmp_path / "shop.csv.part.json").write_bytes(orjson.dumps({"tag": server.tag}))
    assert main(["download", "shop", "--out", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []
    assert main(["download", "shop", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "shop.csv").read_bytes() == CONTENT


def test_killed_at_every_call_it_ends_with_the_file_of_the_server(
    server: Server, tmp_path: Path
) -> None:
    """No hash is stated, and after every second kill the server has a new version."""
    url = f"http://127.0.0.1:{server.server_address[1]}/shop.csv"
    versions = (b"1" * 20_000, b"2" * 21_000)
    server.content, server.tag = versions[0], '"1"'
    with Warm("tests.support.killed") as warm:
        assert warm.run("load", url, str(tmp_path / "whole"), 0, str(tmp_path / "n")) == 0
        calls = int((tmp_path / "n").read_text())
        assert calls >= 40
        for at in range(1, calls + 1):
            out = tmp_path / str(at)
            server.content, server.tag = versions[0], '"1"'
            ended = warm.run("load", url, str(out), at, str(tmp_path / "n"))
            assert ended == -signal.SIGKILL, at
            whole = (out / "shop.csv").exists()  # a complete file is kept
            if at % 2:
                server.content, server.tag = versions[1], '"2"'
            (path,) = module.download(data_at(url), out)
            assert path.read_bytes() == (versions[0] if whole else server.content), at
            assert [each.name for each in out.iterdir()] == ["shop.csv"], at


def test_two_downloads_of_one_file(server: Server, tmp_path: Path, capsys: Capture) -> None:
    codes: list[int] = []
    with one_writer(tmp_path / "shop.csv"):
        thread = threading.Thread(
            target=lambda: codes.append(main(["download", "shop", "--out", str(tmp_path)]))
        )
        thread.start()
        thread.join()
    assert codes == [2]
    assert "is writing here" in capsys.readouterr().err
    assert server.ranges == []


def test_a_disk_that_is_too_small_is_told_before_anything_is_loaded(
    server: Server, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free", lambda path: 1_000_000)
    assert main(["download", "shop", "--out", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "the disk is full: shop.csv.part takes about 2.7 MB" in err
    assert str(tmp_path / "shop.csv.part") in err
    monkeypatch.undo()


def test_the_next_command_can_be_pasted(server: Server, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "my files"
    assert main(["download", "shop", "--out", str(out)]) == 0
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "next:" in text]
    words = shlex.split(line.removeprefix("next: "))
    assert words[:3] == ["miracle", "preprocess", str(out)]


@pytest.mark.parametrize(
    ("name", "what"),
    [("wrong", "not what its publisher says"), ("gone", "404"), ("dead", "can't be loaded")],
)
def test_what_fails_says_what_to_do(
    server: Server, tmp_path: Path, capsys: Capture, name: str, what: str
) -> None:
    assert main(["download", name, "--out", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert what in err
    assert "https://example.org/page" in err
    assert list(tmp_path.iterdir()) == []


def test_the_list_and_an_unknown_name(capsys: Capture) -> None:
    assert main(["download", "--json"]) == 0
    names = {entry["name"] for entry in orjson.loads(capsys.readouterr().out)}
    paper = {"food", "home", "cds", "kindle", "movies", "scientific", "pantry", "instruments"}
    assert paper | {"arts", "office", "online-retail", "ml-1m"} <= names
    assert main(["download", "none"]) == 2
    assert "ml-100k" in capsys.readouterr().err


def test_the_catalogue_is_whole() -> None:
    for data in catalogue().values():
        assert data.licence
        assert data.citation
        for file in data.files:
            assert file.url.startswith("https://")
            assert "{" not in file.url
            assert file.name
