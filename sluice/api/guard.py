"""Keeps a browser's other pages from using this server through the browser.

Where nothing tells who asks, any page that the browser shows could reach a server on loopback: by a name of its own
that resolves to 127.0.0.1 (DNS rebinding), or by a form that posts here (cross-site request forgery). So there the
Host header has to be loopback's, the caller's address too, and an Origin has to be this server. Everywhere, a write
that the browser itself says comes from another origin is refused (Fetch Metadata, `Sec-Fetch-Site`).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from registry.hosts import is_loopback
from sluice.api.access import Forbidden

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Middleware: refuses what another origin's page sent."""

    def __init__(self, app: ASGIApp, *, authenticates: bool) -> None:
        self._app = app
        self._authenticates = authenticates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it.

        Raises:
            Forbidden: another origin's page sent it, or, without authentication, it is not from this machine.
        """
        if scope["type"] == "http":
            headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _LOOKED_AT}
            if not self._authenticates:
                _check_local(scope, headers)
            if scope["method"] not in _SAFE:
                _check_origin(headers, self._authenticates)
        await self._app(scope, receive, send)


_LOOKED_AT = frozenset({b"host", b"origin", b"sec-fetch-site"})


def _check_local(scope: Scope, headers: dict[bytes, str]) -> None:
    host = headers.get(b"host", "")
    if not is_loopback(_without_port(host)):
        raise Forbidden(
            "Without authentication this server answers on loopback alone: use http://127.0.0.1 or set one up."
        )
    client = scope.get("client")
    if client and not is_loopback(client[0]):
        raise Forbidden(
            "Without authentication this server answers this machine alone: set serve.issuer or serve.tokens."
        )


def _check_origin(headers: dict[bytes, str], authenticates: bool) -> None:
    if headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Forbidden("Another site's page sent this: send it from this server's own pages, or from a program.")
    origin = headers.get(b"origin")
    # behind a proxy that changes Host the two differ, and there a token is needed, which no other page has
    if origin is not None and not authenticates and urlsplit(origin).netloc != headers.get(b"host", ""):
        raise Forbidden("Another site's page sent this: send it from this server's own pages, or from a program.")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
