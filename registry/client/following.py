"""Events as they happen, from a stream that is taken up again where it broke off (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing

from pydantic import BaseModel, ConfigDict

from registry.changes import Event
from registry.client.wire import Wire
from registry.errors import InvalidInput, Unavailable
from registry.eventlog import Happened

_SILENCE = 60.0
"""Seconds without even a comment, of which the server sends one every 15, after which the connection counts as dead."""
_PAUSE = 1.0
_REMEMBERED = 2_000


class Told(BaseModel):
    """An event, as the server tells it."""

    model_config = ConfigDict(frozen=True)

    id: str
    at: str
    cursor: str
    event: Event

    @property
    def happened(self) -> Happened:
        """As the registry tells it."""
        return Happened(self.id, self.at, self.cursor, self.event)


def follow(wire: Wire, after: str) -> Iterator[Happened]:
    """Events after a cursor, each once, without an end.

    Raises:
        InvalidInput: no such cursor.
        Unavailable: the server was not reached for a minute.
    """
    cursor, heard, most = after, dict[str, str](), _REMEMBERED
    while True:
        for one in _heard(wire, cursor):
            cursor = one.cursor
            if one.id not in heard:
                heard[one.id] = one.at
                yield one
            if len(heard) > most:
                # what no stream from the cursor on can tell again need not be remembered
                heard = {name: at for name, at in heard.items() if at > cursor}
                most = max(_REMEMBERED, 2 * len(heard))
        time.sleep(_PAUSE)


def _heard(wire: Wire, cursor: str) -> Iterator[Happened]:
    """One stream, until it ends."""
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"} | (
        {"Last-Event-ID": cursor} if cursor else {}
    )
    with closing(wire.stream("/v1/events", {}, headers, silence=_SILENCE)) as response:
        if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            raise InvalidInput(f"{wire.url} does not stream events: check the address.")
        chunks = response.iter_raw()
        lines = _lines(iter(lambda: wire.translated(lambda: next(chunks, b"")), b""))
        try:
            for line in lines:
                # the server sends an event's data as one line; its id and kind are in there
                if line.startswith(b"data: "):
                    yield wire.parse(line.removeprefix(b"data: "), Told).happened
        except Unavailable:
            return


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        yield from lines
