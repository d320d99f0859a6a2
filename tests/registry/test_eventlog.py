from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import eventlog, keys
from registry.changes import Approval, Event, EventKind, ModelEdit
from registry.errors import Conflict, InvalidInput, Refused
from registry.eventlog import Happened
from registry.facts import Format, Scan, Source
from registry.memory import MemoryStore
from registry.names import VersionRef
from registry.records import Records
from registry.registry import Registry
from registry.store import Store

Sources = Callable[..., Source]
Makes = Callable[..., Registry]
SCAN = Scan(source="sha256:" + "a" * 64, size=12, format=Format.TORCHSCRIPT, root="m", files=())


def ref(number: int) -> VersionRef:
    return VersionRef(model="fraud", number=number)


def told(registry: Registry, after: str = "") -> list[tuple[str, int | None]]:
    return [(one.event.kind.value, one.event.number) for one in registry.events(after).events]


@pytest.fixture
def store() -> Store:
    return MemoryStore()


@pytest.fixture
def registry(on: Makes, store: Store) -> Registry:
    return on(store)


def test_everything_that_is_done_is_told_in_order(registry: Registry, on: Makes, store: Store, source: Sources) -> None:
    registry.register("fraud", source("j1"), actor="ann")
    registry.record(ref(1), SCAN, actor="pipeline")
    registry.decide(ref(1), Approval.APPROVED, actor="bob")
    registry.set_alias(ref(1), "champion", actor="eve")
    registry.remove_alias("fraud", "champion", actor="eve")
    registry.edit_model("fraud", ModelEdit(owner="risk"), actor="ann")
    registry.delete(ref(1), actor="root")
    events = [one.event for one in on(store).events().events]
    assert [(event.kind.value, event.number, event.by) for event in events] == [
        ("registered", 1, "ann"),
        ("recorded", 1, "pipeline"),
        ("decided", 1, "bob"),
        ("aliased", 1, "eve"),
        ("aliased", None, "eve"),
        ("edited", None, "ann"),
        ("deleted", 1, "root"),
    ]
    assert (events[1].fact, events[2].sequence, events[3].alias) == ("scan", 1, "champion")
    ids = [one.id for one in registry.events().events]
    assert len(set(ids)) == len(ids)


def test_what_was_done_already_is_not_told_again(registry: Registry, source: Sources) -> None:
    for _ in range(2):
        registry.register("fraud", source("j1"), actor="ann")
        registry.record(ref(1), SCAN)
        registry.decide(ref(1), Approval.APPROVED, actor="bob", token="d")
        registry.set_alias(ref(1), "champion", actor="eve", token="a")
    assert told(registry) == [("registered", 1), ("recorded", 1), ("decided", 1), ("aliased", 1)]


def test_pages_go_on_from_their_cursor(registry: Registry, source: Sources, clock: Any) -> None:
    for n in range(1, 8):
        registry.register("fraud", source(f"j{n}"), actor="ann")
        clock.advance(seconds=1)
    clock.advance(minutes=5)
    seen: list[int | None] = []
    cursor = ""
    for _ in range(4):
        page = registry.events(cursor, limit=2)
        assert len(page.events) <= 2
        seen += [one.event.number for one in page.events]
        assert not page.events or page.events[-1].cursor == page.cursor
        cursor = page.cursor
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert registry.events(cursor) == ((), cursor)
    third = registry.events("", limit=3).events[-1]
    assert told(registry, third.cursor) == [("registered", n) for n in (4, 5, 6, 7)]


def test_the_last_minute_is_told_again_since_something_earlier_may_still_come(
    registry: Registry, source: Sources, clock: Any
) -> None:
    registry.register("fraud", source("j1"), actor="ann")
    clock.advance(seconds=50)
    registry.register("fraud", source("j2"), actor="ann")
    page = registry.events()
    assert told(registry, page.cursor) == [("registered", 1), ("registered", 2)]
    clock.advance(seconds=20)
    page = registry.events(page.cursor)
    assert told(registry, page.cursor) == [("registered", 2)]
    clock.advance(seconds=60)
    page = registry.events(page.cursor)
    assert told(registry, page.cursor) == []


def test_a_writer_whose_clock_is_behind_is_heard(
    registry: Registry, on: Makes, store: Store, source: Sources, clock: Any
) -> None:
    registry.register("fraud", source("j1"), actor="ann")
    cursor = registry.events().cursor
    behind = on(store, clock=lambda: clock() - timedelta(seconds=55))
    behind.register("fraud", source("j2"), actor="bob")
    assert ("registered", 2) in told(registry, cursor)


@pytest.mark.parametrize(
    "cursor", ["a/b", "x" * 301, "line\nfeed", "é", "\0", "../events/", "\x7f"], ids=lambda text: repr(text)[:12]
)
def test_what_is_no_cursor_is_refused(registry: Registry, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="is not a cursor: give one that came with an event, or none"):
        registry.events(cursor)
    with pytest.raises(InvalidInput):
        next(registry.follow(cursor))


@given(st.text(max_size=40))
def test_any_text_is_a_cursor_or_refused_in_one_sentence(cursor: str) -> None:
    try:
        assert eventlog.check_cursor(cursor) == cursor
    except InvalidInput as error:
        assert "\n" not in str(error)  # noqa: PT017  # either is right


DEEDS: dict[str, tuple[str, Callable[[Registry, Any], object]]] = {
    "registered": ("/log/", lambda registry, source: registry.register("fraud", source("j9"), actor="ann")),
    "recorded": ("/scan.json", lambda registry, source: registry.record(ref(1), SCAN)),
    "decided": (
        "/decisions/",
        lambda registry, source: registry.decide(ref(1), Approval.APPROVED, actor="b", token="d"),
    ),
    "aliased": ("/aliases/", lambda registry, source: registry.set_alias(ref(1), "x", actor="ann", token="t")),
    "deleted": ("/deleted.json", lambda registry, source: registry.delete(ref(1), actor="ann")),
}


@pytest.mark.parametrize("kind", DEEDS)
def test_an_event_whose_deed_never_came_is_not_told_and_one_that_was_done_again_is(
    registry: Registry, on: Makes, store: Store, source: Sources, watched: Any, killed: Any, kind: str
) -> None:
    registry.register("fraud", source("j1"), actor="ann")
    part, deed = DEEDS[kind]
    seen = watched(store)

    def die(verb: str, key: str) -> None:
        if verb in ("create", "replace") and part in key:
            raise killed

    seen.before = die
    with pytest.raises(killed):
        deed(on(seen), source)
    assert len(list(store.list(keys.EVENTS))) == 2
    assert told(registry) == [("registered", 1)]
    deed(on(store), source)
    assert told(registry)[-1][0] == kind
    assert {one.id for one in registry.events().events if one.event.kind.value == kind} >= {
        registry.events().events[-1].id
    }


@pytest.mark.parametrize("kind", DEEDS)
def test_a_deed_that_took_long_is_told_once_more_under_the_same_name(
    registry: Registry, on: Makes, store: Store, source: Sources, watched: Any, clock: Any, kind: str
) -> None:
    """A reader that had passed the first event hears the second."""
    registry.register("fraud", source("j1"), actor="ann")
    part, deed = DEEDS[kind]
    seen = watched(store)
    cursors: list[str] = []

    def slow(verb: str, key: str) -> None:
        if verb in ("create", "replace") and part in key and not cursors:
            clock.advance(seconds=100)
            cursors.append(registry.events().cursor)

    seen.before = slow
    deed(on(seen), source)
    heard = [one for one in registry.events(cursors[0]).events if one.event.kind.value == kind]
    assert len(heard) == 1
    everything = [one for one in registry.events().events if one.event.kind.value == kind and one.event.number != 1]
    everything += [one for one in registry.events().events if one.event.kind.value == kind and one.event.number == 1]
    ids = [one.id for one in everything]
    assert ids.count(heard[0].id) == 2


def test_who_follows_hears_everything_once(registry: Registry, source: Sources, clock: Any) -> None:
    registry.register("fraud", source("j1"), actor="ann")
    heard: list[Happened] = []
    waits = 0

    def wait() -> bool:
        nonlocal waits
        waits += 1
        if waits <= 20:
            registry.register("fraud", source(f"w{waits}"), actor="ann")
            clock.advance(seconds=waits * 7)
        return waits < 25

    for one in registry.follow(wait=wait):
        heard.append(one)  # noqa: PERF402  # what was heard before an error counts too
    assert [one.event.number for one in heard] == list(range(1, 22))


def test_who_follows_goes_on_after_a_restart(registry: Registry, on: Makes, store: Store, source: Sources) -> None:
    for n in range(1, 6):
        registry.register("fraud", source(f"j{n}"), actor="ann")
    first = []
    for one in registry.follow(wait=lambda: False):
        first.append(one)
        if len(first) == 3:
            break
    rest = list(on(store).follow(first[-1].cursor, wait=lambda: False))
    assert {one.id for one in first} | {one.id for one in rest} == {one.id for one in registry.events().events}


def test_more_events_than_a_page_in_one_minute(registry: Registry, store: Store, source: Sources, clock: Any) -> None:
    registry.register("fraud", source("j1"), actor="ann")
    for n in range(1_500):
        event = Event(kind=EventKind.EDITED, model="fraud", at=clock(), by="ann", token=f"t{n}")
        eventlog.tell(registry.records, event)
    waits = 0

    def wait() -> bool:
        nonlocal waits
        waits += 1
        clock.advance(seconds=30)
        return waits < 8

    heard = [one.id for one in registry.follow(wait=wait)]
    assert len(heard) == len(set(heard)) == 1_501


FOREIGN = [
    "events/readme.txt",
    "events/.DS_Store",
    "events/20261125T093012.123456Z.t.fraud.1-9999999999.registered.json",
    "events/20261125T093012.123456Z.t.fraud.1-1.registered.json.bak",
    "events/folder/20261125T093012.123456Z.t.fraud.1-1.registered.json",
]


def test_foreign_objects_among_the_events_are_passed_by(registry: Registry, store: Store, source: Sources) -> None:
    for key in FOREIGN:
        store.create(key, b"what is this")
    registry.register("fraud", source("j1"), actor="ann")
    assert told(registry) == [("registered", 1)]
    assert [one.event.number for one in registry.follow(wait=lambda: False)] == [1]


def test_an_event_that_lies_under_anothers_key_is_passed_by(registry: Registry, store: Store, source: Sources) -> None:
    registry.register("fraud", source("j1"), actor="ann")
    [key] = store.list(keys.EVENTS)
    stored = store.get(key)
    assert stored
    store.create(key.replace(".fraud.", ".other."), stored.data)
    at = registry.events().events[0].event.at
    for kind in EventKind:
        event = Event(kind=kind, model="fraud", at=at, by="eve", token="x")  # of a version, but it says of none
        if kind is not EventKind.EDITED:
            eventlog.tell(registry.records, event)
    assert told(registry) == [("registered", 1)]


def test_an_event_that_cannot_be_read_is_said(registry: Registry, store: Store) -> None:
    key = "events/20261125T093012.123456Z.t.fraud.1-1.registered.json"
    store.create(key, b"{}")
    with pytest.raises(Refused, match=f"^{key} is not a event record of this Sluice"):
        registry.events()


def test_telling_tells_before_it_does(store: Store, clock: Any) -> None:
    records = Records(store, clock=clock)
    order: list[str] = []

    def event() -> Event:
        order.append("told")
        return Event(kind=EventKind.EDITED, model="fraud", at=clock(), by="a", token="t")

    assert eventlog.telling(records, event, lambda: order.append("done") or 7) == 7
    assert order == ["told", "done"]

    def fail() -> None:
        raise Conflict("no")

    with suppress(Conflict):
        eventlog.telling(records, event, fail)
    assert order == ["told", "done", "told"]
