"""Access to the explorer in a browser: a client needs the token and one of the server's names.

This works as in Jupyter. The server draws a token when it starts, and prints an address that
contains it. The first visit sets a cookie and redirects to the page without the token, which keeps
the token out of the browser's history and of ``Referer`` headers. Every request, including the
websocket's, needs the token or the cookie.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from aiohttp import web

_LOCAL_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
_TOKEN_BYTES = 24
REFUSED_NAME = "This explorer does not answer to that name. Use the address that it printed.\n"
REFUSED_ORIGIN = "This explorer answers to its own page only.\n"
REFUSED_TOKEN = (
    "This explorer needs its token. Open the whole address that it printed where it was started; "
    "a new start has a new token.\n"
)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached only from this machine."""
    if host.lower() == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def bracketed(host: str) -> str:
    """A host as written in a URL, with IPv6 addresses in brackets."""
    address = _address(host)
    return f"[{host}]" if address is not None and address.version == 6 else host


@dataclass(frozen=True)
class Access:
    """Who may use the explorer.

    Attributes:
        host: the address that the server listens on.
        port: the port that the server listens on.
        token: the secret that a request must contain.
    """

    host: str
    port: int
    token: str = field(default_factory=lambda: secrets.token_hex(_TOKEN_BYTES), repr=False)

    @property
    def cookie(self) -> str:
        """The cookie's name. It holds the port, since cookies are shared between ports."""
        return f"miracle-explorer-{self.port}"

    @property
    def addresses(self) -> list[str]:
        """The addresses to open, with the token; the most useful first."""
        hosts = [self.host]
        if (address := _address(self.host)) is not None and address.is_unspecified:
            hosts = [socket.gethostname(), "127.0.0.1" if address.version == 4 else "::1"]
        return [f"http://{bracketed(host)}:{self.port}/?token={self.token}" for host in hosts]

    def known_name(self, host_header: str) -> bool:
        """Whether a ``Host`` header names this server.

        This prevents DNS rebinding: the owner of another site can point its name at this server,
        and to a browser that site's page then has the same origin as this server. So the server
        answers only to the local names and to the host that it listens on. If other machines can
        reach it, it also answers to this machine's name and to any numeric address, which cannot be
        pointed elsewhere.

        Args:
            host_header: the header: a name, perhaps with a port.
        """
        asked = _split(host_header)
        if asked is None or asked.netloc != host_header or asked.username is not None:
            return False
        name = asked.hostname or ""
        if is_loopback(self.host):
            return name in {*_LOCAL_NAMES, self.host.lower()} and (asked.port or 80) == self.port
        own = {*_LOCAL_NAMES, self.host.lower(), *_names_of_this_machine()}
        return name in own or _address(name) is not None

    def known_token(self, given: str | None) -> bool:
        """Whether a value is the token; compared in constant time against timing attacks."""
        if given is None:
            return False
        return hmac.compare_digest(given.encode(errors="replace"), self.token.encode())

    @web.middleware
    async def check(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Let a request through or refuse it (403)."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not self.known_name(hosts[0]):
            raise web.HTTPForbidden(text=REFUSED_NAME)
        origin = request.headers.get("Origin")
        # Without this check, a page of another site could open a websocket here.
        if origin is not None and not _is_origin_of(origin, hosts[0]):
            raise web.HTTPForbidden(text=REFUSED_ORIGIN)
        with_token = self.known_token(request.query.get("token"))
        if not with_token and not self.known_token(request.cookies.get(self.cookie)):
            raise web.HTTPForbidden(text=REFUSED_TOKEN)
        if with_token and request.path == "/":
            return self._first_visit(request)
        response: web.StreamResponse = await handler(request)
        if not response.prepared:
            # A page of another local server could show this one in a frame, and catch clicks.
            response.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        return response

    def _first_visit(self, request: web.Request) -> web.StreamResponse:
        """Set the cookie, and redirect to the same page without the token in its address."""
        rest = request.rel_url.without_query_params("token")
        response = web.HTTPSeeOther(rest)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        # Lax, not Strict: the address may be opened from another site, such as webmail.
        response.set_cookie(self.cookie, self.token, httponly=True, samesite="Lax", path="/")
        return response


def _names_of_this_machine() -> set[str]:
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0]}


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _split(netloc: str) -> SplitResult | None:
    """Split a host with an optional port; None if it is malformed."""
    try:
        parts = urlsplit(f"//{netloc}")
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_origin_of(origin: str, host_header: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host_header.lower()
    except ValueError:
        return False
