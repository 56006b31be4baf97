"""The explorer in a real browser: headless Chromium against ``miracle tui RUN --web``."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

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


@pytest.fixture
def server(small_run: Path, tmp_path: Path) -> Any:
    """``miracle tui RUN --web`` on a free port."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    words = [sys.executable, "-m", "miracle_cli", "tui", str(small_run), "--web"]
    process = subprocess.Popen(
        [*words, "--port", str(port)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    yield f"http://127.0.0.1:{port}/"
    process.terminate()
    assert process.wait(20) == 0
    assert process.stderr is not None
    told = process.stderr.read().decode()
    assert "serving on http://127.0.0.1" in told and "warning" not in told


async def answer_of(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str]:
    """Status and text, once the server is up."""
    for _ in range(round(PATIENCE / 0.1)):
        try:
            async with session.get(url, headers=headers) as response:
                return response.status, await response.text()
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)
    raise AssertionError("the server did not come up")


async def test_the_page_loads_nothing_from_elsewhere_and_others_are_refused(server: str) -> None:
    async with aiohttp.ClientSession() as session:
        status, page = await answer_of(session, server)
        assert status == 200
        assert re.findall(r"https?://[^\s\"']*", page) == []
        assert (await answer_of(session, server, Host="evil.example"))[0] == 403
        assert (await answer_of(session, f"{server}ws", Origin="http://evil.example"))[0] == 403


class Browser:
    """A page of a headless browser, spoken to through its debugging port."""

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
        """Wait until the explorer has drawn a text; what was drawn before doesn't count."""
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
    server: str, tmp_path: Path
) -> None:
    """What the page's terminal is sent is what it shows; keys go through the page."""
    async with aiohttp.ClientSession() as session:
        assert (await answer_of(session, server))[0] == 200
    async with browser(server, tmp_path / "profile") as page:
        await page.until_drawn("run · tiny")
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
