"""Streams of events (WHATWG HTML, section 9.2, "Server-sent events")."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from fastapi import Request
from starlette.responses import StreamingResponse

from registry.errors import SluiceError
from sluice.api.observe import STREAM

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = 15.0
"""Seconds without an event after which a comment keeps proxies from closing the connection."""
_RETRY_MS = 2_000


class Message(NamedTuple):
    """One event; `id` is where the client goes on when it comes back."""

    id: str
    event: str
    data: str

    def to_bytes(self) -> bytes:
        """As it is sent; line ends in `data` become lines of their own, elsewhere they cannot be."""
        lines = "".join(f"data: {line}\n" for line in self.data.split("\n"))
        return f"id: {_one_line(self.id)}\nevent: {_one_line(self.event)}\n{lines}\n".encode()


Part = Message | str
"""What a stream sends: an event, or a comment in one line."""


def wants_stream(request: Request) -> bool:
    """Whether the client asks for a stream rather than a page."""
    return MEDIA_TYPE in request.headers.get("accept", "")


def resumed(request: Request, after: str) -> str:
    """Where a stream begins: after the last event that the client saw, else after what its address says."""
    return request.headers.get("last-event-id") or after


async def event_stream(
    request: Request, parts: AsyncGenerator[Sequence[Part], None], *, heartbeat: float = HEARTBEAT
) -> StreamingResponse:
    """An answer that goes on until the client leaves or `parts` end, which gives something, or nothing, every second.

    Raises:
        SluiceError: what `parts` raised at first; later it ends the stream, and the client comes back.
    """
    first = await anext(parts, ())
    request.scope[STREAM] = True
    return StreamingResponse(
        _chunks(first, parts, heartbeat),
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _chunks(
    first: Sequence[Part], parts: AsyncGenerator[Sequence[Part], None], heartbeat: float
) -> AsyncIterator[bytes]:
    async with aclosing(parts):
        yield f"retry: {_RETRY_MS}\n\n".encode() + b"".join(map(_bytes, first))
        spoke = time.monotonic()
        try:
            async for some in parts:
                if some:
                    yield b"".join(map(_bytes, some))
                elif time.monotonic() - spoke >= heartbeat:
                    yield b":\n\n"
                else:
                    continue
                spoke = time.monotonic()
        except SluiceError:
            return


async def stops(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait, and tell whether the server shuts down, which ends the waiting."""
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return False
    return True


def stopping(request: Request) -> asyncio.Event:
    """Set when the server shuts down."""
    found = getattr(request.state, "stopping", None)
    return found if isinstance(found, asyncio.Event) else asyncio.Event()


def _bytes(part: Part) -> bytes:
    return f": {_one_line(part)}\n\n".encode() if isinstance(part, str) else part.to_bytes()


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ").replace("\0", " ")
