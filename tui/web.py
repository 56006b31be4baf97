"""The explorer in a browser, through Textual's own server.

The server starts one explorer a browser window and carries keys and pictures over a websocket.
Whoever opens it reads the runs and can write exports to this machine's disk: see
:mod:`tui.web_access` for who may.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from textual_serve.server import Server

from miracle_core.errors import InputError
from tui.on_disk import Source
from tui.web_access import Access, bracketed

_TEMPLATES = Path(__file__).parent / "web_templates"
# Open windows are told to end; one that doesn't is not waited for longer.
_END_SECONDS = 5.0


class ExplorerServer(Server):
    """Textual's server for those who may use it, with a page that loads nothing from elsewhere.

    Args:
        command: starts one explorer.
        access: who may use it.
    """

    def __init__(self, command: str, access: Access) -> None:
        super().__init__(
            command, access.host, access.port, title="Miracle", templates_path=_TEMPLATES
        )
        self.access = access
        self._windows: set[asyncio.Task[Any]] = set()

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self.access.check)
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: the address is told once the server listens."""

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Carry one window, until either side ends it."""
        window = asyncio.current_task()
        assert window is not None
        self._windows.add(window)
        try:
            return await super().handle_websocket(request)
        finally:
            self._windows.discard(window)

    async def on_shutdown(self, app: web.Application) -> None:
        """End the windows that are open, or the server would wait for them."""
        for window in list(self._windows):
            window.cancel()

    def run(self, listening: Callable[[], None]) -> None:
        """Serve until Ctrl-C, or a signal.

        Args:
            listening: called once browsers can connect.

        Raises:
            OSError: the address can't be served on.
        """
        # Textual's own set-up would log every request with its address, and the token with it, and
        # every error with the local variables.
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        web.run_app(
            self._make_app(),
            host=self.host,
            port=self.port,
            access_log=None,
            print=lambda *_: listening(),
            shutdown_timeout=_END_SECONDS,
        )


def serve(
    source: Source | None,
    host: str,
    port: int,
    tell: Callable[[Sequence[str]], None],
    device: str = "cpu",
) -> None:
    """Serve the explorer until Ctrl-C.

    Args:
        source: what to open, or None for the list of runs.
        host: the address.
        port: the port.
        tell: hears of the addresses to open, with the token, once they can be opened.
        device: the name of where the model runs.

    Raises:
        InputError: the address can't be served on.
    """
    words = [sys.executable, "-m", "miracle_cli", "tui"]
    if source is not None:
        words.append(str(source.run.absolute()))
        if source.data is not None:
            words += ["--data", str(source.data.absolute())]
        words += source.options
    if device != "cpu":
        words += ["--device", device]
    access = Access(host, port)
    try:
        ExplorerServer(shlex.join(words), access).run(lambda: tell(access.addresses))
    except OSError as error:
        raise InputError(
            f"can't be served on: {error.strerror or error}",
            where=f"{bracketed(host)}:{port}",
            remedy="choose another --port, or a --host that is an address of this machine",
        ) from error
