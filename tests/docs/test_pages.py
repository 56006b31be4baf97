"""Everything that pages quote, name or tell a reader to type exists."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPResponse
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest

from docs import make_reference
from miracle_cli.main import main
from miracle_core.data.writing import write_dataset
from miracle_core.experiments.definition import library
from tests.docs.pages import DOCS, blocks
from tests.support.runs import other_shop, tiny_run, tiny_shop

ROOT = DOCS.parent


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def quoted(text: str) -> list[str]:
    """The messages that the troubleshooting page explains: its headings in code."""
    return re.findall(r"^### `(.+)`$", text, re.MULTILINE)


def known_messages() -> list[str]:
    """The messages in the sources: errors, and others that say what is wrong."""
    own = [each.what for each in make_reference.error_messages(ROOT)]
    main_file = (ROOT / "miracle_cli" / "main.py").read_text(encoding="utf-8")
    return own + [re.sub(r"\{[^}]+\}", "...", text) for text in re.findall(r'f"(.+?)"', main_file)]


def test_messages_are_those_of_the_code() -> None:
    text = page("troubleshooting.md")
    known = known_messages()
    messages = quoted(text)
    assert len(messages) > 25
    for message in [*messages, "a bug: ..."]:
        assert any(message in each for each in known), message
    assert not any("this message is nowhere" in each for each in known)


def test_options_that_pages_name_exist(capsys: pytest.CaptureFixture[str]) -> None:
    known = set(re.findall(r"--[a-z][a-z-]+", make_reference.commands()))
    others = {"--nproc-per-node", "--index-url", "--logdir", "--install-completion"}
    known |= others | {"--show-completion", "--version", "--debug", "--help"}
    for name in (
        "quickstart",
        "shop",
        "research",
        "paper",
        "serving",
        "troubleshooting",
        "devices",
    ):
        for option in set(re.findall(r"--[a-z][a-z-]+", page(f"{name}.md"))):
            assert option in known, f"{name}.md names {option}"


def test_code_that_the_method_names_is_there() -> None:
    text = page("method.md")
    paths = re.findall(r"`((?:miracle_core|tests)/[\w/.]+)`", text)
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path).exists(), path
    sources = "".join(file.read_text() for file in (ROOT / "miracle_core").rglob("*.py"))
    for name in re.findall(r"`([A-Z]\w+|[a-z]+_[a-z_]+)`", text):
        assert re.search(rf"\b(class|def) {name}\b", sources), name


def test_each_table_of_the_paper_has_a_command_that_plans_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_shop(tmp_path / "data/scientific")
    for size, name in enumerate(("online-retail", "food", "home"), 18):
        other_shop(tmp_path / "data" / name, items=size, name=name)
    commands = re.findall(r"`(miracle experiment .+)` \|$", page("paper.md"), re.MULTILINE)
    named = [shlex.split(command)[2] for command in commands]
    assert set(named) == set(library()) - {"heads"}
    for command in commands:
        extra = [] if "table1" in command else ["--dry-run", "--json"]
        capsys.readouterr()
        assert main([*shlex.split(command)[1:], *extra]) == 0, command
        if extra:
            plan = json.loads(capsys.readouterr().out)
            assert plan["runs"], command


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of the service from the page."""
    monkeypatch.setattr(sys, "argv", ["serve.py", str(tiny_run(tmp_path)), "0"])
    monkeypatch.setenv("SERVE_TOKEN", "s\u00e9same")
    names = served()
    monkeypatch.setattr(names["Handler"], "log_message", lambda *_: None)
    monkeypatch.setattr(names["Handler"], "timeout", 2)
    server = HTTPServer(("127.0.0.1", 0), names["Handler"])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def served() -> dict[str, Any]:
    """The names that the page's file defines."""
    (code,) = [block.text for block in blocks("serving.md") if block.title == "serve.py"]
    names: dict[str, Any] = {"__name__": "served"}
    exec(compile(code, "serve.py", "exec"), names)
    return names


def asked(port: int, body: bytes, **changed: str | None) -> tuple[int, dict[str, Any]]:
    """The status and JSON of the answer to a request; a header of None is left out."""
    headers: dict[str, str | None] = {
        "Authorization": "Bearer s\u00e9same",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    head = "\r\n".join(["POST / HTTP/1.1", *lines, "", ""])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.sendall(head.encode() + body)
        answer = HTTPResponse(line)
        answer.begin()
        assert answer.getheader("Content-Type") == "application/json"
        return answer.status, json.load(answer)


def test_the_service_answers(service: int) -> None:
    good = {"history": ["I03", {"title": "Vinyl Glove"}], "top_k": 4}
    status, answer = asked(service, json.dumps(good).encode())
    items = answer["items"]
    assert (status, len(items)) == (200, 4)
    assert {"item_id", "score", "interest"} == set(items[0])


def test_the_service_says_what_is_wrong_with_a_request(service: int) -> None:
    assert "no item 'nobody'" in asked(service, b'{"history": ["nobody"]}')[1]["error"]
    for body in (
        *(
            b"{}",
            b"[]",
            b"",
            b"{",
            b"\xff",
            b'{"history": 3}',
            b'{"history": [{}]}',
            b"[" * 100_000,
        ),
        *(b'{"history": ["I03"], "top_k": %s}' % each for each in (b"1e400", b"NaN", b'"x"')),
    ):
        status, answer = asked(service, body)
        assert status == 400 and answer["error"].startswith("a request is {"), body
    for body in (b'{"history": ["I03"], "top_k": 0}', b'{"history": [3]}', b'{"history": []}'):
        status, answer = asked(service, body)
        assert status == 400 and answer["error"], body


def test_the_service_is_for_those_who_have_its_token_and_for_no_web_page(service: int) -> None:
    good = b'{"history": ["I03"]}'
    assert asked(service, good)[0] == 200
    for wrong in (None, "", "Bearer ", "Bearer sesame", "s\u00e9same", "Basic \u20ac"):
        status, answer = asked(service, good, Authorization=wrong)
        assert (status, answer) == (401, {"error": "the token is missing or wrong"}), wrong
    for kind in (None, "text/plain", "application/x-www-form-urlencoded"):
        assert asked(service, good, Content_Type=kind)[0] == 415, kind
    assert asked(service, good, Content_Type="application/json; charset=utf-8")[0] == 200


def test_nobody_holds_up_the_service(service: int) -> None:
    for length in ("-1", "1000001", "9" * 5000, "much", None):
        assert asked(service, b"", Content_Length=length)[0] == 413, length
    # A client never ends its request. The next one is answered after the service's timeout.
    with socket.create_connection(("127.0.0.1", service), timeout=60) as silent:
        silent.sendall(b"POST / HTTP/1.1\r\n")
        assert asked(service, b'{"history": ["I03"]}')[0] == 200


def test_the_service_does_not_start_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, ""):
        monkeypatch.delenv("SERVE_TOKEN", raising=False)
        if value is not None:
            monkeypatch.setenv("SERVE_TOKEN", value)
        with pytest.raises(SystemExit, match="SERVE_TOKEN is not set"):
            served()


def test_the_weekly_script_stops_where_the_run_is_worse(tmp_path: Path) -> None:
    """Run the script in a shell, with a stand-in for miracle that records its arguments."""
    (script,) = [block.text for block in blocks("serving.md") if block.title == "weekly.sh"]
    (tmp_path / "weekly.sh").write_text(script)
    program = tmp_path / "bin/miracle"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$*" >> called\n[ "$1" != "$FAILS" ]\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    called = tmp_path / "called"
    path = f"{program.parent}:{os.environ['PATH']}"

    def weekly(fails: str) -> tuple[int, list[list[str]]]:
        called.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", "weekly.sh"], cwd=tmp_path, env={"PATH": path, "FAILS": fails}, check=False
        )
        return done.returncode, [line.split() for line in called.read_text().splitlines()]

    code, lines = weekly("nothing")
    assert (code, [words[0] for words in lines]) == (
        0,
        ["preprocess", "data", "update", "recommend"],
    )
    code, lines = weekly("update")
    assert code == 1 and lines[-1][0] == "update"
    known = set(re.findall(r"--[a-z][a-z-]+", make_reference.commands()))
    assert {word for words in lines for word in words if word.startswith("--")} <= known


def test_the_files_of_a_dataset_are_those_of_the_page(tmp_path: Path) -> None:
    part = page("files.md").partition("## A Dataset folder")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([\w.]+\.(?:npy|parquet|json))`", part))
    source = Path(write_dataset.__code__.co_filename).read_text(encoding="utf-8")
    tiny_shop(tmp_path / "data", attributes=True)
    left = {
        re.sub(r"features\..+\.npy", "features.NAME.npy", f.name)
        for f in (tmp_path / "data").iterdir()
    }
    assert left - named == set()
    assert named - left == {"times.npy", "cuts.npy"}
    assert '"times.npy"' in source and '"cuts.npy"' in source
