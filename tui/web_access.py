"""Who may use the explorer in a browser: who knows its token, by one of its own names.

As in Jupyter: a token is drawn when the server starts and stands in the address that it prints.
The first visit with it leaves a cookie, and the page goes on without it, so that it stands in no
history of a browser and in no ``Referer``. Every request needs one of both, the websocket's too.
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
    """Whether an address can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def bracketed(host: str) -> str:
    """A host as it stands in a URL: IPv6 addresses in brackets."""
    address = _address(host)
    return f"[{host}]" if address is not None and address.version == 6 else host


@dataclass(frozen=True)
class Access:
    """Who may use the explorer.

    Attributes:
        host: the address served on.
        port: the port served on.
        token: what a request has to know.
    """

    host: str
    port: int
    token: str = field(default_factory=lambda: secrets.token_hex(_TOKEN_BYTES), repr=False)

    @property
    def cookie(self) -> str:
        """The cookie's name. Cookies don't tell ports apart, and there may be several explorers."""
        return f"miracle-explorer-{self.port}"

    @property
    def addresses(self) -> list[str]:
        """The addresses to open, with the token; the likeliest first."""
        hosts = [self.host]
        if (address := _address(self.host)) is not None and address.is_unspecified:
            hosts = [socket.gethostname(), "127.0.0.1" if address.version == 4 else "::1"]
        return [f"http://{bracketed(host)}:{self.port}/?token={self.token}" for host in hosts]

    def known_name(self, host_header: str) -> bool:
        """Whether a ``Host`` header names this server.

        The owner of another site can let its name point here. Then the page of that site is, to a
        browser, of the same origin as this server. So only these names are answered to: the local
        ones, the one served on, and where others can reach the server this machine's own name and
        any address in numbers, which nobody can let point elsewhere.

        Args:
            host_header: the header; a name, perhaps with a port.
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
        """Whether something given is the token; takes as long for a near guess as for a far one."""
        if given is None:
            return False
        return hmac.compare_digest(given.encode(errors="replace"), self.token.encode())

    @web.middleware
    async def check(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Let a request through, or refuse it (403)."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not self.known_name(hosts[0]):
            raise web.HTTPForbidden(text=REFUSED_NAME)
        origin = request.headers.get("Origin")
        # A page of another site can open a websocket here.
        if origin is not None and not _is_origin_of(origin, hosts[0]):
            raise web.HTTPForbidden(text=REFUSED_ORIGIN)
        with_token = self.known_token(request.query.get("token"))
        if not with_token and not self.known_token(request.cookies.get(self.cookie)):
            raise web.HTTPForbidden(text=REFUSED_TOKEN)
        if with_token and request.path == "/":
            return self._first_visit(request)
        response: web.StreamResponse = await handler(request)
        return response

    def _first_visit(self, request: web.Request) -> web.StreamResponse:
        """Leave the cookie, and lead to the same page without the token in its address."""
        rest = request.rel_url.without_query_params("token")
        response = web.HTTPSeeOther(rest)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        # Lax, not strict: the address may be opened from another site, such as a mail in a browser.
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
    """The parts of a host with its port, or None where it is none."""
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
