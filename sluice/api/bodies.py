"""How long a request's body may be, and of what type. Streams of bytes are let through to the routes that take them."""

from __future__ import annotations

from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BODIES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Bodies:
    """Middleware: JSON of at most `limit` bytes, told from Content-Length or counted while it is read (413, 415)."""

    def __init__(self, app: ASGIApp, *, limit: int, streams: Collection[str] = ()) -> None:
        self._app = app
        self._limit = limit
        self._streams = frozenset(streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it.

        Raises:
            HTTPException: the body is too long, not JSON, or of no length that can be read.
        """
        if scope["type"] != "http" or scope["path"] in self._streams:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length = _length(headers)
        if length > self._limit:
            raise _too_long(self._limit)
        if scope["method"] in _BODIES and (length or b"transfer-encoding" in headers):
            _check_type(headers.get(b"content-type", b""))
        await self._app(scope, _Counted(receive, self._limit), send)


class _Counted:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit:
                raise _too_long(self._limit)
        return message


def _length(headers: dict[bytes, bytes]) -> int:
    value = headers.get(b"content-length", b"0")
    if not value.isdigit():
        raise HTTPException(400, "Content-Length is no number: send the body's length.")
    return int(value)


def _check_type(value: bytes) -> None:
    kind = value.partition(b";")[0].strip().lower()
    if kind != b"application/json" and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
        raise HTTPException(415, "The body's type is not JSON: send Content-Type: application/json.")


def _too_long(limit: int) -> HTTPException:
    return HTTPException(413, f"The body is longer than {limit} bytes: send a shorter one.")
