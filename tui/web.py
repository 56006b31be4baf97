"""The explorer in a browser, through Textual's own server.

The server starts one explorer a browser window and carries keys and pictures over a websocket.
Whoever opens it can write exports to this machine's disk, so pages of other origins are refused.
"""

from __future__ import annotations

import ipaddress
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

_TEMPLATES = Path(__file__).parent / "web_templates"
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_request(host_header: str, origin: str | None, *, host: str, port: int) -> bool:
    """Whether a request comes from a page of this server, asked for by one of its own names.

    A page of another site can open a websocket to this address, and a name of another site can be
    made to point to it; neither may control the explorer.

    Args:
        host_header: the ``Host`` header.
        origin: the ``Origin`` header, or None where there is none.
        host: the address served on.
        port: the port served on.
    """
    asked = urlsplit(f"//{host_header}")
    names = {host, *_LOCAL_NAMES} if is_loopback(host) else None
    if names is not None and asked.hostname not in names:
        return False
    if names is not None and (asked.port or 80) != port:
        return False
    return origin is None or urlsplit(origin).netloc == host_header


class ExplorerServer(Server):
    """Textual's server, for requests of its own pages only, with a page that loads nothing else."""

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._refuse_others)
        return app

    @web.middleware
    async def _refuse_others(self, request: web.Request, handler: Any) -> web.StreamResponse:
        header, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if not own_request(header, origin, host=self.host, port=self.port):
            raise web.HTTPForbidden(text="This explorer answers to its own page only.")
        response: web.StreamResponse = await handler(request)
        return response


def serve(run: Path | None, host: str, port: int) -> None:
    """Serve the explorer until Ctrl-C.

    Args:
        run: the run folder to open, or None for the list of runs.
        host: the address.
        port: the port.
    """
    words = [sys.executable, "-m", "miracle_cli", "tui", *([str(run)] if run is not None else [])]
    server = ExplorerServer(
        shlex.join(words), host, port, title="Miracle", templates_path=_TEMPLATES
    )
    server.serve()
