"""Streams of events: one asks for all, nobody misses anything, and who is too slow is cut off."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest

from registry.changes import Approval
from registry.client import RegistryClient
from registry.errors import InvalidInput, Unavailable
from registry.names import VersionRef
from sluice.api.hub import Hub

REF = VersionRef(model="fraud", number=1)


class Counting:
    """Parts whose registry counts how often it is asked for events."""

    def __init__(self, parts):
        self.parts, self.asked, self.down = parts, 0, False
        events = parts.registry.events

        def counted(*args, **kwargs):
            self.asked += 1
            if self.down:
                raise Unavailable("The store is down: wait.")
            return events(*args, **kwargs)

        parts.registry.events = counted


@pytest.fixture
def server(start):
    server = start()
    server.parts.registry.register("fraud", server.parts.sources.find("job-1"), actor="me")
    return server


@pytest.fixture
def parts(server):
    return Counting(server.parts)


def _decide(server, number):
    server.parts.registry.decide(REF, Approval.APPROVED, actor="me", reason=str(number))


def test_many_streams_ask_as_often_as_one(server, parts):
    heard = []

    def listen():
        with RegistryClient(server.url) as client:
            told = client.follow()
            heard.append([next(told).event.kind.value for _ in range(4)])
            told.close()

    threads = [threading.Thread(target=listen) for _ in range(10)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    joined = parts.asked
    began = time.monotonic()
    for number in range(3):
        time.sleep(1)
        _decide(server, number)
    for thread in threads:
        thread.join(20)
    assert heard == [["registered", "decided", "decided", "decided"]] * 10
    # more of them at once after something happened, each a second else
    assert parts.asked - joined <= 3 * (time.monotonic() - began) + 3


def _collected(hub, after, count, *, pause=0.0):
    async def go():
        found, stopping = [], asyncio.Event()
        told = hub.since(after, stopping)
        async for some in told:
            if isinstance(some, str):
                found.append(some)
                break
            found += some
            if len(found) >= count:
                break
            await asyncio.sleep(pause)
        await told.aclose()
        await hub.close()
        return found

    return asyncio.run(asyncio.wait_for(go(), 30))


def test_nobody_is_asked_when_nobody_listens(server, parts):
    hub = Hub(parts.parts, every=0.01)
    assert len(_collected(hub, "", 1)) == 1
    before = parts.asked
    time.sleep(0.1)
    assert parts.asked == before


def test_who_reads_too_slowly_is_cut_off_and_comes_back(server, parts):
    hub = Hub(parts.parts, every=0.01, room=3)

    async def go():
        stopping, found = asyncio.Event(), []
        told = hub.since("", stopping)
        quick = hub.since("", stopping)
        while len(hub._listeners) < 1:
            found += await anext(told)
        while len(hub._listeners) < 2:
            await anext(quick)
        seen = []
        for number in range(8):
            await asyncio.to_thread(_decide, server, number)
            while not (some := await anext(quick)):
                pass
            seen += some
        assert len(seen) == 8  # one is slow, the others are not
        async for some in told:
            if isinstance(some, str):
                break
            found += some
        assert some.endswith("Last-Event-ID")
        assert len(found) < 9
        await quick.aclose()
        await hub.close()
        return found

    found = asyncio.run(asyncio.wait_for(go(), 30))
    rest = _collected(Hub(parts.parts, every=0.01), found[-1].cursor, 8)
    assert len({one.id for one in (*found, *rest)}) == 9


def test_streams_end_when_the_store_does(server, parts):
    hub = Hub(parts.parts, every=0.01)

    async def go():
        told = hub.since("", asyncio.Event())
        for _ in range(3):
            await anext(told)
        parts.down = True
        async for some in told:
            if isinstance(some, str):
                return some
        return None

    assert "does not answer" in asyncio.run(asyncio.wait_for(go(), 30))
    parts.down = False
    assert len(_collected(hub, "", 1)) == 1


def test_only_what_comes_after_the_cursor(server, parts):
    hub = Hub(parts.parts, every=0.01)
    _decide(server, 0)
    events = parts.parts.registry.events().events
    found = _collected(hub, events[0].at, 1)
    assert [one.event.kind.value for one in found] == ["decided"]
    with pytest.raises(InvalidInput):
        _collected(hub, "a/b", 1)


def test_a_stream_says_why_it_ends(server):
    headers = {"Accept": "text/event-stream"}
    with httpx.stream("GET", f"{server.url}/v1/events", headers=headers, trust_env=False, timeout=20) as answer:
        lines = answer.iter_lines()
        while not next(lines).startswith("data"):
            pass
        time.sleep(0.5)
        server.server.should_exit = True
        assert ": the server shuts down: come back with Last-Event-ID" in list(lines)
