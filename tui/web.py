"""The explorer in a browser, through Textual's own server.

The server starts one explorer per browser window, and passes keys and screens over a websocket.
Anyone with access can read the runs and write exports to this machine's disk.
:mod:`tui.web_access` decides who has access.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import WSCloseCode, web
from aiohttp.http import HttpProcessingError
from textual_serve.app_service import AppService
from textual_serve.server import Server

from miracle_core.errors import InputError
from tui.on_disk import Source
from tui.web_access import Access, bracketed

_TEMPLATES = Path(__file__).parent / "web_templates"
# At the end, how long to wait for open windows to close.
_END_SECONDS = 5.0
_log = logging.getLogger(__name__)


class ExplorerServer(Server):
    """Textual's server with access control and a page that loads nothing from other hosts.

    Args:
        command: the command that starts one explorer.
        access: who may use the server.
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
        """Print nothing: the address is reported once the server listens."""

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one window until either side ends it."""
        if not web.WebSocketResponse().can_prepare(request):
            raise web.HTTPBadRequest(text="This address is for the explorer's page only.\n")
        window = asyncio.current_task()
        assert window is not None
        self._windows.add(window)
        try:
            return await super().handle_websocket(request)
        finally:
            self._windows.discard(window)

    async def _process_messages(
        self, websocket: web.WebSocketResponse, app_service: AppService
    ) -> None:
        """Pass on what the page sends. Anything that the page never sends ends the window."""
        try:
            await super()._process_messages(websocket, app_service)
        except Exception as error:  # Textual's server takes every message apart unchecked
            _log.warning("A window sent a malformed message, and was closed (%s).", error)
            await websocket.close(code=WSCloseCode.UNSUPPORTED_DATA)

    async def on_shutdown(self, app: web.Application) -> None:
        """Close the open windows; the server would wait for them otherwise."""
        for window in list(self._windows):
            window.cancel()

    def run(self, listening: Callable[[], None]) -> None:
        """Serve until Ctrl-C or a signal.

        Args:
            listening: called once browsers can connect.

        Raises:
            OSError: the server can't listen on the address.
        """
        # Textual's own logging would write every request's address, which contains the token, and
        # every error with its local variables.
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("aiohttp.server").addFilter(_is_ours)
        web.run_app(
            self._make_app(),
            host=self.host,
            port=self.port,
            access_log=None,
            print=lambda *_: listening(),
            shutdown_timeout=_END_SECONDS,
        )


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a log record is not about a malformed request.

    Such a request is answered with 400. Anybody can send one without the token, and each would be
    logged with a traceback and the request's address.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


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
        host: the address to listen on.
        port: the port to listen on.
        tell: called with the addresses to open, token included, once they can be opened.
        device: the name of the device that runs the model.

    Raises:
        InputError: the server can't listen on the address.
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
