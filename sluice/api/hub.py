"""What happens, told to all streams of this process by one who asks the bucket for it, as long as anyone listens.

A stream first reads for itself what came after its cursor, and then listens. Whoever does not keep up is cut off,
and comes back with the cursor that it had: nothing is lost, since the events stay in the bucket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress

from starlette.concurrency import run_in_threadpool

from registry import eventlog, keys
from registry.errors import SluiceError
from registry.eventlog import Happened
from sluice.api.parts import Parts
from sluice.api.sse import stops

EVERY = 1.0
"""Seconds between two looks for new events."""
ROOM = 10_000
"""Events that wait for one reader at most."""
_SLOW = "more happened than was read: come back with Last-Event-ID"
_FAILED = "the store does not answer: come back with Last-Event-ID"
_STOPPING = "the server shuts down: come back with Last-Event-ID"

_TOLD = 10_000
"""Events that are kept in mind, before those that cannot come again are let go."""


class Listener:
    """One stream's place: what it was told and has not taken yet. Used by the event loop's thread alone."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._waiting: list[Happened] = []
        self._told = asyncio.Event()
        self.ended = ""
        """Why nothing more will come."""

    def tell(self, some: Sequence[Happened]) -> None:
        """Let some events wait here, or end it where they are too many."""
        if len(self._waiting) + len(some) > self._room:
            self.end(_SLOW)
        elif some and not self.ended:
            self._waiting.extend(some)
            self._told.set()

    def end(self, why: str) -> None:
        """Tell nothing more."""
        self.ended = self.ended or why
        self._told.set()

    async def take(self, seconds: float) -> Sequence[Happened]:
        """What was told, as soon as there is something, or nothing after some seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()
        if not self.ended:
            self._told.clear()
        some, self._waiting = self._waiting, []
        return some


class Hub:
    """Asks the registry what happened, once for all who listen."""

    def __init__(self, parts: Parts, *, every: float = EVERY, room: int = ROOM) -> None:
        self._parts = parts
        self._every, self._room = every, room
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None

    async def since(self, after: str, stopping: asyncio.Event) -> AsyncGenerator[Sequence[Happened] | str, None]:
        """What happened after a cursor and what happens then, each once; nothing now and then; at last, why it ends.

        Raises:
            SluiceError: what came first cannot be read.
        """
        reading = _Reading(self._parts, after)
        async for some in reading.on():
            yield some
            if stopping.is_set():
                return
        with self._listening(stopping) as listener:
            async for some in reading.on():  # what came before it was heard here
                yield some
            while not listener.ended:
                yield reading.fresh(await listener.take(self._every))
            yield listener.ended

    async def close(self) -> None:
        """End what asks."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @contextmanager
    def _listening(self, stopping: asyncio.Event) -> Iterator[Listener]:
        listener = Listener(self._room)
        self._listeners.add(listener)
        if self._task is None:
            self._task = asyncio.create_task(self._ask(stopping))
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def _ask(self, stopping: asyncio.Event) -> None:
        why = _FAILED
        try:
            reading = _Reading(self._parts, await run_in_threadpool(self._recent))
            while self._listeners:
                some, more = await reading.page()
                for listener in self._listeners:
                    listener.tell(some)
                if stopping.is_set() or (not more and await stops(stopping, self._every)):
                    why = _STOPPING
                    return
        except SluiceError:
            return
        finally:
            for listener in self._listeners:
                listener.end(why)
            self._listeners.clear()
            self._task = None

    def _recent(self) -> str:
        return eventlog.recent(self._parts.registry.records)


class _Reading:
    """Reads on from a cursor, and passes over what was told already."""

    def __init__(self, parts: Parts, after: str) -> None:
        self._parts, self._after = parts, after
        self._cursor = after
        self._told: dict[str, str] = {}

    async def on(self) -> AsyncGenerator[Sequence[Happened], None]:
        """Pages up to now; one at least."""
        more = True
        while more:
            some, more = await self.page()
            yield some

    async def page(self) -> tuple[Sequence[Happened], bool]:
        """New events, and whether to read on at once."""
        page = await run_in_threadpool(self._parts.registry.events, self._cursor)
        some = self.fresh(page.events)
        # what no later page can hold need not be remembered
        self._told = {name: at for name, at in self._told.items() if at > page.cursor}
        moved, self._cursor = page.cursor != self._cursor, page.cursor
        return some, moved and bool(some)

    def fresh(self, some: Sequence[Happened]) -> Sequence[Happened]:
        """Those of them that come after the first cursor and were not told."""
        found = [one for one in some if one.id not in self._told and one.at > self._after]
        self._told |= {one.id: one.at for one in found}
        if len(self._told) > _TOLD:
            old = keys.event_time(self._parts.registry.records.now() - 2 * eventlog.OVERLAP)
            self._told = {name: at for name, at in self._told.items() if at > old}
        return found
