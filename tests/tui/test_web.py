"""The explorer in a real browser: headless Chromium against ``miracle tui RUN --web``."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (found := shutil.which(name))
    ),
    None,
)
PATIENCE = 60.0
ESCAPE = re.compile(r"\x1b\[[0-9;?<=>]*[a-zA-Z]|\x1b.")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Served(NamedTuple):
    """A running server."""

    address: str
    token: str
    process: subprocess.Popen[bytes]
    written: Path

    @property
    def page(self) -> str:
        """The address without the token."""
        return self.address.partition("?")[0]


@pytest.fixture(params=["127.0.0.1"])
def server(request: pytest.FixtureRequest, small_run: Path, tmp_path: Path) -> Iterator[Served]:
    """``miracle tui RUN --web`` on a free port; the parameter is its --host."""
    port = free_port()
    written = tmp_path / "written"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    words = [sys.executable, "-m", "miracle_cli", "tui", str(small_run), "--web"]
    with written.open("wb") as file:
        process = subprocess.Popen(
            [*words, "--port", str(port), "--host", request.param],
            cwd=tmp_path,
            env=environment,
            stdout=file,
            stderr=file,
        )
    try:
        end = time.monotonic() + PATIENCE
        while "Ctrl-C stops" not in written.read_text():
            assert time.monotonic() < end and process.poll() is None, written.read_text()
            time.sleep(0.05)
        found = re.search(rf"http://127\.0\.0\.1:{port}/\?token=(\w+)", written.read_text())
        assert found is not None
        yield Served(found[0], found[1], process, written)
    finally:
        process.kill()
        process.wait(20)


def visitor() -> aiohttp.ClientSession:
    """A client with a browser's cookies."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


async def status_of(session: aiohttp.ClientSession, url: str, **headers: str) -> int:
    async with session.get(url, headers=headers, allow_redirects=False) as response:
        return response.status


async def test_the_token_opens_every_page_and_nothing_else_does(server: Served) -> None:
    paths = ("", "ws", "static/js/textual.js", "static/", "download/x", "nothing")
    async with visitor() as session:
        for path in paths:
            for wrong in ("", "?token=", f"?token={server.token[:-1]}", "?token=%F0%9F%A7%A4"):
                assert await status_of(session, f"{server.page}{path}{wrong}") == 403, path
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{server.page}ws")
        async with session.get(server.address, allow_redirects=False) as response:
            assert response.status == 303 and response.headers["Location"] == "/"
            cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
        async with session.get(server.page) as response:
            assert response.status == 200
            page = await response.text()
        assert re.findall(r"https?://[^\s\"']*", page) == [], "it loads nothing from elsewhere"
        assert server.token not in page
        assert await status_of(session, f"{server.page}static/js/textual.js") == 200
        for path in paths:
            assert await status_of(session, server.page + path, Host="evil.example") == 403
            assert await status_of(session, server.page + path, Origin="http://evil.example") == 403
    async with visitor() as session:
        assert (
            await status_of(session, f"{server.page}static/js/textual.js?token={server.token}")
            == 200
        )


@pytest.mark.parametrize("server", ["127.0.0.1", "0.0.0.0"], indirect=True)
async def test_the_token_is_written_nowhere_but_in_the_printed_address(server: Served) -> None:
    printed = server.written.read_text()
    async with visitor() as session:
        await status_of(session, server.address)
        await status_of(session, f"{server.page}nothing?token={server.token}")
        await status_of(session, server.address, Host="evil.example")
        async with session.ws_connect(f"{server.page}ws?token={server.token}") as socket:
            await until_drawn(socket, "run")
            for process in (server.process.pid, *children_of(server.process.pid)):
                assert server.token not in Path(f"/proc/{process}/environ").read_text()
                assert server.token not in Path(f"/proc/{process}/cmdline").read_text()
    assert server.written.read_text() == printed
    assert ("can be reached from other machines" in printed) == ("     or on" in printed)


@pytest.mark.parametrize("server", ["0.0.0.0"], indirect=True)
async def test_served_to_others_only_this_machines_names_are_answered_to(server: Served) -> None:
    port = server.page.split(":")[2].strip("/")
    async with visitor() as session:
        names = [socket.gethostname(), "192.0.2.7", "localhost", "[2001:db8::1]"]
        for name in names:
            host = f"{name}:{port}"
            assert (
                await status_of(session, server.address, Host=host, Origin=f"http://{host}") == 303
            )
        for name in ("evil.example", "127.0.0.1.evil.example", "u@127.0.0.1", "127.1 ", "[::1"):
            host = f"{name}:{port}"
            status = await status_of(session, server.address, Host=host, Origin=f"http://{host}")
            assert status in (400, 403), name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_windows_end_with_the_server(server: Served, number: signal.Signals) -> None:
    address = f"{server.page}ws?token={server.token}"
    async with visitor() as session, session.ws_connect(address) as socket:
        await until_drawn(socket, "run")
        windows = children_of(server.process.pid)
        assert windows
        server.process.send_signal(number)
        reading = asyncio.create_task(until_closed(socket))
        code = await asyncio.to_thread(server.process.wait, PATIENCE)
        assert code == (0 if number != signal.SIGKILL else -number)
        await reading
    end = time.monotonic() + PATIENCE
    while any(is_alive(window) for window in windows):
        assert time.monotonic() < end, "a window goes on without its server"
        await asyncio.sleep(0.05)


async def test_malformed_requests_are_refused_and_leave_no_traceback(server: Served) -> None:
    printed = server.written.read_text()
    port = int(server.page.split(":")[2].strip("/"))
    for request in (
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(request)
            answer = await asyncio.to_thread(client.recv, 100)
        assert b" 400 " in answer, request
    async with visitor() as session:
        async with session.get(f"{server.page}ws?token={server.token}") as response:
            assert response.status == 400, "not a websocket"
        async with session.get(server.address) as response:
            assert response.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert server.written.read_text() == printed


@pytest.mark.parametrize(
    "sent", ["no JSON", "{}", '["stdin"]', '["stdin", "\\ud800"]', "[" * 100_000]
)
async def test_a_malformed_message_ends_its_window(server: Served, sent: str) -> None:
    async with visitor() as session:
        async with session.ws_connect(f"{server.page}ws?token={server.token}") as socket:
            await socket.send_str(sent)
            await until_closed(socket)
            assert socket.close_code == aiohttp.WSCloseCode.UNSUPPORTED_DATA
        told = server.written.read_text()
        assert "malformed message" in told and "Traceback" not in told
        assert await status_of(session, server.address) == 303, "the server goes on"


async def test_an_endless_window_is_drawn_at_the_largest_size(server: Served) -> None:
    most = 10**9
    address = f"{server.page}ws?token={server.token}&width={most}&height={most}"
    async with visitor() as session, session.ws_connect(address, max_msg_size=0) as socket:
        await until_drawn(socket, "run")
        await socket.send_json(["resize", {"width": "wide", "height": None}])
        await socket.send_json(["resize", {"width": most, "height": most}])
        await socket.send_json(["resize", {"width": -1, "height": 0}])
        await socket.send_json(["resize", {"width": 50, "height": 10}])
        await until_drawn(socket, "needs a terminal of")


def test_an_address_that_is_taken_is_told(small_run: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = command("tui", str(small_run), "--web", "--port", str(port))
    assert result.returncode == 2
    assert f"where: 127.0.0.1:{port}" in result.stderr and "choose another --port" in result.stderr


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "miracle_cli", *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


async def until_drawn(socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
    drawn = ""
    async for message in socket:
        if message.type == aiohttp.WSMsgType.BINARY:
            drawn += ESCAPE.sub("", message.data.decode(errors="replace"))
        if text in drawn:
            return
    raise AssertionError(f"the window was closed before it drew {text!r}: {drawn[-500:]}")


async def until_closed(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass


def children_of(process: int) -> list[int]:
    """The descendants of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == process:
            child = int(stat.parent.name)
            found += [child, *children_of(child)]
    return found


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Browser:
    """A page in a headless browser, controlled through its debugging port."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number = socket, 0
        self._drawn = ""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        await self._socket.send_json(message)
        while True:
            answer: dict[str, Any] = await self._socket.receive_json()
            if answer.get("method") == "Network.webSocketFrameReceived":
                frame = answer["params"]["response"]
                if frame["opcode"] == 2:
                    drawn = base64.b64decode(frame["payloadData"]).decode(errors="replace")
                    self._drawn += ESCAPE.sub("", drawn)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    async def until_drawn(self, text: str) -> None:
        """Wait until the explorer newly draws a text."""
        end = time.monotonic() + PATIENCE
        while text not in self._drawn:
            assert time.monotonic() < end, f"{text!r} was not drawn; last: {self._drawn[-2000:]}"
            await asyncio.sleep(0.05)
            await self.value("1")
        self._drawn = ""

    async def value(self, script: str) -> Any:
        found = await self.call("Runtime.evaluate", expression=script)
        return found["result"].get("value")

    async def key(self, key: str, code: int, text: str = "") -> None:
        same = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **same)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **same)


@asynccontextmanager
async def browser(url: str, profile: Path) -> AsyncIterator[Browser]:
    assert CHROMIUM is not None
    words = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
        f"--user-data-dir={profile}", "--window-size=1300,800", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        told = profile / "DevToolsActivePort"
        for _ in range(round(PATIENCE / 0.1)):
            if told.is_file() and told.read_text().strip():
                break
            await asyncio.sleep(0.1)
        port = told.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as response:
                pages = [page for page in await response.json() if page["type"] == "page"]
            address = pages[0]["webSocketDebuggerUrl"]
            async with session.ws_connect(address, max_msg_size=0) as socket:
                page = Browser(socket)
                await page.call("Network.enable")
                await page.call("Page.navigate", url=url)
                yield page
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
async def test_a_title_typed_in_a_browser_is_recommended_from_and_exported(
    server: Served, tmp_path: Path
) -> None:
    """The terminal in the page shows what it is sent, and keys go through the page."""
    async with browser(server.address, tmp_path / "profile") as page:
        await page.until_drawn("run · MIRACLE · tiny")
        assert "token" not in str(await page.value("location.href"))
        assert "-first-byte" in str(await page.value("document.body.className"))
        assert await page.value("document.querySelectorAll('canvas').length") > 0
        await page.value("document.querySelector('textarea').focus()")
        await page.call("Input.insertText", text="latex exam")
        await page.until_drawn("as a new item")
        await page.key("Enter", 13, "\r")
        await page.until_drawn("rank 1 · score")
        await page.key("Escape", 27)
        await page.until_drawn("On/off")
        await page.key("e", 69, "e")
        await page.until_drawn("Enter writes")
        await page.key("Enter", 13, "\r")
        await page.until_drawn("Written:")
    exported = json.loads((tmp_path / "miracle-run-explore.json").read_text())
    assert [item["title"] for item in exported["history"]] == ["Latex Exam Glove"]
    assert len(exported["items"]) == 10
