"""The index against the truth: whatever is in it, missing from it or happens beside it, a list shows what is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from registry import index, keys, rows
from registry.changes import Approval, Event, EventKind
from registry.errors import Refused
from registry.eventlog import OVERLAP, tell
from registry.facts import Format, Scan, Source
from registry.feed import Feed
from registry.index import Index
from registry.memory import MemoryStore
from registry.names import VersionRef
from registry.records import Records, utc_now
from registry.registry import Registry
from registry.store import Store

Sources = Callable[..., Source]
Makes = Callable[..., Registry]
Bulk = Callable[..., None]
SCAN = Scan(source="sha256:" + "a" * 64, size=12, format=Format.TORCHSCRIPT, root="m", files=())
SEGMENT = keys.segment("fraud", 0)


def ref(number: int) -> VersionRef:
    return VersionRef(model="fraud", number=number)


def truth(store: Store, last: int, model: str = "fraud") -> list[bytes]:
    """The lines of all versions, newest first, from the log and the facts alone."""
    made = [one.to_line() for one in rows.of_range(Records(store), model, 1, last)]
    assert len(made) == last
    return made[::-1]


def shown(registry: Registry, model: str = "fraud") -> list[bytes]:
    return registry.version_lines(model, 100_000, deleted=True)


def put(store: Store, key: str, data: bytes) -> None:
    stored = store.get(key)
    if stored is None:
        store.create(key, data)
    else:
        store.replace(key, data, stored.etag)


def data_of(store: Store, key: str) -> bytes:
    stored = store.get(key)
    assert stored, key
    return stored.data


@pytest.fixture
def store(bulk: Bulk) -> Store:
    """40 versions of long ago: more than are made anew without writing the index."""
    store = MemoryStore()
    bulk(store, 40, per=7)
    return store


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "SEGMENT", 10)


def test_a_list_that_made_many_rows_leaves_them_for_the_next_process(on: Makes, store: Store, watched: Any) -> None:
    assert shown(on(store)) == truth(store, 40)
    seen = watched(store)
    assert shown(on(seen)) == truth(store, 40)
    assert ("get", SEGMENT) in seen.requests
    assert len(seen.requests) <= 6


def test_a_list_costs_two_requests_where_nothing_happened(on: Makes, store: Store, watched: Any) -> None:
    seen = watched(store)
    registry = on(seen)
    shown(registry)
    seen.requests.clear()
    for _ in range(3):
        assert len(list(registry.versions("fraud"))) == 40
    assert [verb for verb, _ in seen.requests] == ["list"] * 6


def test_a_list_reads_no_more_than_what_changed(on: Makes, store: Store, watched: Any, clock: Any) -> None:
    seen = watched(store)
    registry, other = on(seen), on(store)
    shown(registry)
    seen.requests.clear()
    other.record(ref(7), SCAN)
    assert shown(registry) == truth(store, 40)
    assert len(seen.requests) <= 6  # two to ask, three for a version amid an entry, one for its facts
    seen.requests.clear()
    assert shown(registry) == truth(store, 40)
    assert len(seen.requests) == 2


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _cut_at_a_line(data: bytes) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:20])


def _swapped(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    lines[3], lines[5] = lines[5], lines[3]
    return b"".join(lines)


def _lied(data: bytes) -> bytes:
    return data.replace(b'"state":"registered"', b'"state":"deleted"')


def _others(data: bytes) -> bytes:
    cursor, lines = _parts(data)
    return index.packed(cursor, [line.replace(b'"fraud"', b'"other"') for line in lines])


def _other_part(data: bytes) -> bytes:
    cursor, lines = _parts(data)
    return index.packed(cursor, lines[1:])


def _without_rows(data: bytes) -> bytes:
    return index.packed(_parts(data)[0], [])


def _no_rows(data: bytes) -> bytes:
    return index.packed(_parts(data)[0], [b"{}"] * 40)


def _older(data: bytes) -> bytes:
    _, lines = _parts(data)
    return index.packed(keys.event_time(datetime.now(UTC) - timedelta(days=3)), lines)


def _too_old(data: bytes) -> bytes:
    _, lines = _parts(data)
    return index.packed("20200101T000000.000000Z", [line.replace(b"registered", b"scanned") for line in lines])


def _parts(data: bytes) -> tuple[str, list[bytes]]:
    first, *lines = data.splitlines()
    return index.Head.model_validate_json(first).cursor, lines


DAMAGES = [_cut, _cut_at_a_line, _swapped, _lied, _others, _other_part, _without_rows, _no_rows, _older, _too_old]
CONTENTS = [b"", b"\n", b"{}", b"{}\n{}\n", b"\xff\xfe\0", b"[" * 100_000, b"null\n", b"not json\nnot either\n"]


@pytest.mark.parametrize(
    "damage", [*DAMAGES, *(lambda _, data=data: data for data in CONTENTS)], ids=lambda d: d.__name__.strip("_<>")
)
def test_a_wrong_index_costs_requests_and_nothing_else(
    on: Makes, store: Store, damage: Callable[[bytes], bytes]
) -> None:
    on(store).rebuild("fraud")
    put(store, SEGMENT, damage(data_of(store, SEGMENT)))
    assert shown(on(store)) == truth(store, 40)
    registry = on(store)
    registry.rebuild("fraud")
    assert data_of(store, SEGMENT).splitlines()[1:] == truth(store, 40)[::-1]


def test_an_index_that_says_it_is_of_a_later_time_hides_nothing_that_happened(on: Makes, store: Store) -> None:
    on(store).rebuild("fraud")
    _, lines = _parts(data_of(store, SEGMENT))
    on(store).record(ref(4), SCAN)
    put(store, SEGMENT, index.packed("99990101T000000.000000Z", lines))
    assert shown(on(store)) == truth(store, 40)


def test_an_index_that_was_wrong_is_written_anew(on: Makes, store: Store) -> None:
    put(store, SEGMENT, b"garbage")
    shown(on(store))
    assert data_of(store, SEGMENT).splitlines()[1:] == truth(store, 40)[::-1]


@pytest.mark.parametrize("count", [1, 9, 10, 11, 20, 35])
def test_pages_across_the_objects_of_an_index(small: None, on: Makes, bulk: Bulk, count: int) -> None:
    store = MemoryStore()
    bulk(store, count, per=3)
    registry = on(store)
    registry.rebuild()
    assert len(list(store.list("models/fraud/index/"))) == (count + 9) // 10
    expected = truth(store, count)
    for reader in (registry, on(store)):
        for below in [None, *range(1, count + 3)]:
            page = expected if below is None else expected[max(0, count - below + 1) :]
            assert reader.version_lines("fraud", 100, below=below) == page
            assert reader.version_lines("fraud", 4, below=below) == page[:4]
        assert [row.to_line() for row in reader.versions("fraud")] == expected


def test_a_thousand_and_one_versions_are_two_objects(on: Makes, bulk: Bulk, source: Sources) -> None:
    store = MemoryStore()
    bulk(store, 998)
    registry = on(store)
    for n in range(4):
        registry.register("fraud", source(f"new-{n}"), actor="ann")
        assert [row.number for row in registry.versions("fraud")] == list(range(999 + n, 0, -1))
    registry.rebuild()
    assert [len(data_of(store, keys.segment("fraud", n)).splitlines()) for n in range(2)] == [1001, 3]
    assert shown(on(store)) == truth(store, 1002)


def test_what_happened_since_the_index_was_written_is_shown(
    small: None, on: Makes, store: Store, clock: Any, source: Sources
) -> None:
    reader, writer = on(store), on(store)
    shown(reader)
    on(store).rebuild()
    for minutes in (0, 0.5, 10, 600):
        clock.advance(minutes=minutes)
        n = int(minutes * 10)
        made = writer.register("fraud", source(f"new-{n}"), actor="ann").version
        writer.record(ref(1 + n % 7), SCAN)
        writer.decide(made.ref, Approval.APPROVED, actor="bob")
        writer.decide(ref(25), Approval.REJECTED, actor="bob")
        writer.delete(ref(10 + (n % 13)), actor="ann")
        expected = truth(store, made.number)
        assert shown(reader) == expected
        assert shown(on(store)) == expected
        assert [line for line in expected if rows.is_live(line)] == reader.version_lines("fraud", 100)


def test_what_others_did_while_nobody_asked_is_heard(on: Makes, store: Store, clock: Any) -> None:
    """Once, only the last minute was looked through."""
    reader, writer = on(store), on(store)
    shown(reader)
    clock.advance(seconds=5)
    writer.record(ref(3), SCAN)
    clock.advance(hours=5)
    assert shown(reader) == truth(store, 40)
    assert shown(reader)[40 - 3].startswith(b'{"state":"scanned"')


def test_five_thousand_events_and_one_are_too_many_to_look_through_and_it_is_read_anew(
    on: Makes, store: Store, clock: Any, watched: Any
) -> None:
    registry = on(store)
    registry.rebuild()
    registry.record(ref(5), SCAN)
    for n in range(5_001):
        time = keys.event_time(clock())
        store.create(str(keys.EventKey(time, f"t{n}", "other", 1, 1, "scan")), b"")
    registry.record(ref(6), SCAN)
    clock.advance(minutes=5)
    seen = watched(store)
    assert shown(on(seen)) == truth(store, 40)
    assert len([1 for verb, key in seen.requests if verb == "get" and "/log/" in key]) > 5


@pytest.mark.parametrize("kind", ["scan", "deleted", "decided", "registered"])
@pytest.mark.parametrize("seconds", [0, 29, 45, 200])
def test_an_event_that_is_seen_before_what_it_tells_of(
    on: Makes, store: Store, watched: Any, clock: Any, source: Sources, kind: str, seconds: int
) -> None:
    """The writer is slow between the event and the deed, and a reader looks meanwhile, and much later again."""
    seen = watched(store)
    writer, reader = on(seen), on(store)
    shown(reader)
    deeds: dict[str, tuple[str, Callable[[], object]]] = {
        "scan": ("/scan.json", lambda: writer.record(ref(4), SCAN)),
        "deleted": ("/deleted.json", lambda: writer.delete(ref(4), actor="ann")),
        "decided": ("/decisions/", lambda: writer.decide(ref(4), Approval.APPROVED, actor="ann")),
        "registered": ("/log/", lambda: writer.register("fraud", source("new"), actor="ann")),
    }
    part, deed = deeds[kind]
    looked = []

    def look(verb: str, key: str) -> None:
        if verb == "create" and part in key:
            looked.append(shown(reader))
            clock.advance(seconds=seconds)
            looked.append(shown(reader))

    seen.before = look
    deed()
    assert looked == [truth(store, 40)] * 2 or kind != "registered"
    last = 41 if kind == "registered" else 40
    clock.advance(hours=1)
    assert shown(reader) == truth(store, last)
    assert shown(on(store)) == truth(store, last)
    assert looked[0] != truth(store, last)


def test_an_index_written_between_an_event_and_its_deed_is_not_believed(
    on: Makes, store: Store, watched: Any, clock: Any
) -> None:
    seen = watched(store)

    def index_now(verb: str, key: str) -> None:
        if verb == "create" and key.endswith("/scan.json"):
            clock.advance(seconds=25)
            on(store).rebuild()

    seen.before = index_now
    on(seen).record(ref(4), SCAN)
    clock.advance(hours=1)
    assert shown(on(store)) == truth(store, 40)


def test_an_event_of_nothing_changes_nothing(on: Makes, store: Store, watched: Any, killed: Any, clock: Any) -> None:
    reader, seen = on(store), watched(store)
    shown(reader)

    def die(verb: str, key: str) -> None:
        if verb == "create" and key.endswith("/scan.json"):
            raise killed

    seen.before = die
    with pytest.raises(killed):
        on(seen).record(ref(4), SCAN)
    assert shown(reader) == truth(store, 40)
    clock.advance(minutes=20)
    assert shown(reader) == truth(store, 40)
    on(store).record(ref(4), SCAN)
    assert shown(reader) == truth(store, 40)


FOREIGN = [
    "events/readme.txt",
    "events/20261125T093012.123456Z.t.fraud.1-99999999999999.scan.json",
    "events/99990101T000000.000000Z.t.fraud.4000000000-4000000001.scan.json",
    "events/99990101T000000.000000Z.t.Not A Model.1-1.scan.json",
    "events/99990101T000000.000000Z.t.a--b.0-0.edited.json",
    "events/99990101T000000.000000Z.t.nobody.7-9.registered.json",
    "events/99990101T000000.000000Z.t.fraud.1-60.deleted.json",
    "models/Not A Model/index/0000000.jsonl",
]


def test_foreign_events_do_no_harm(on: Makes, store: Store, source: Sources) -> None:
    early = on(store)
    shown(early)
    for key in FOREIGN:
        store.create(key, b"what is this")
    for registry in (early, on(store)):
        assert shown(registry) == truth(store, 40)
        assert [one.model.name for one in registry.models()] == ["fraud"]
    early.record(ref(2), SCAN)
    assert shown(early) == truth(store, 40) == shown(on(store))


def test_whoever_may_not_write_reads_all_the_same(on: Makes, store: Store, watched: Any) -> None:
    seen = watched(store)

    def refuse(verb: str, key: str) -> None:
        if verb in ("create", "replace"):
            raise Refused("Access denied: ask for s3:PutObject.")

    seen.before = refuse
    assert shown(on(seen)) == truth(store, 40)
    assert len(list(on(seen).models())) == 1
    assert list(store.list("models/fraud/index/")) == []


def test_two_processes_that_write_the_index_at_once(on: Makes, store: Store, watched: Any, source: Sources) -> None:
    seen = watched(store)

    def intrude(verb: str, key: str) -> None:
        if verb in ("create", "replace") and key == SEGMENT:
            on(store).rebuild()

    seen.before = intrude
    registry = on(seen)
    assert shown(registry) == truth(store, 40)
    for n in range(1, 18):
        registry.record(ref(n), SCAN)
    assert shown(registry) == truth(store, 40) == shown(on(store))


def test_another_thread_that_hears_of_what_happens_does_not_keep_it_to_itself(
    on: Makes, store: Store, watched: Any
) -> None:
    """While one thread loads the index, another asks for the models, and so polls the same feed."""
    on(store).rebuild()
    seen = watched(store)
    reader = on(seen)
    told: list[str] = []

    def between(verb: str, key: str) -> None:
        if (verb, key) == ("list", keys.EVENTS) and ("get", SEGMENT) in seen.requests and not told:
            told.append("what happened since the index was written is listed")
            on(store).record(ref(4), SCAN)
            other = threading.Thread(target=lambda: list(reader.models()))
            other.start()
            other.join(60)
            assert not other.is_alive()

    seen.after = between
    shown(reader)
    assert told
    assert shown(reader) == truth(store, 40)


def test_threads_that_list_and_write_at_once(small: None, on: Makes, store: Store, source: Sources) -> None:
    registry = on(store)
    errors: list[BaseException] = []

    def run(work: Callable[[int], object]) -> threading.Thread:
        def loop() -> None:
            try:
                for n in range(15):
                    work(n)
            except BaseException as error:  # noqa: BLE001  # told below
                errors.append(error)

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    threads = [
        run(lambda n: list(registry.versions("fraud"))),
        run(lambda n: list(registry.models())),
        run(lambda n: registry.register("fraud", source(f"new-{n}"), actor="ann")),
        run(lambda n: registry.record(ref(n + 1), SCAN)),
        run(lambda n: on(store).decide(ref(n + 5), Approval.APPROVED, actor="bob")),
    ]
    for thread in threads:
        thread.join()
    assert errors == []
    assert shown(registry) == truth(store, 55)


def test_little_memory_is_enough(small: None, store: Store) -> None:
    records = Records(store)
    reader = Index(records, Feed(records), budget=1)
    for _ in range(3):
        assert list(reader.lines("fraud", deleted=True)) == truth(store, 40)
    assert len(reader._segments) == 1
    reader.rebuild("fraud")
    assert list(reader.lines("fraud", below=15)) == truth(store, 40)[40 - 14 :]


class Ticking:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_with_an_age_a_list_costs_nothing_until_it_is_too_old(on: Makes, store: Store, watched: Any) -> None:
    seen, ticks = watched(store), Ticking()
    records = Records(seen)
    reader = Index(records, Feed(records, max_age=10, monotonic=ticks))
    assert list(reader.lines("fraud")) == truth(store, 40)
    on(store).record(ref(4), SCAN)
    seen.requests.clear()
    ticks.at = 9.9
    assert list(reader.lines("fraud")) != truth(store, 40)
    assert seen.requests == []
    ticks.at = 10.0
    assert list(reader.lines("fraud")) == truth(store, 40)
    assert seen.requests


def test_with_an_age_a_version_that_was_told_of_before_it_was_there_is_shown_when_it_is(
    on: Makes, store: Store, watched: Any, source: Sources
) -> None:
    seen, ticks = watched(store), Ticking()
    records = Records(store)
    reader = Index(records, Feed(records, max_age=10, monotonic=ticks))
    assert reader.newest("fraud") == 40

    def look(verb: str, key: str) -> None:
        if verb == "create" and "/log/" in key:
            ticks.at += 11
            assert reader.newest("fraud") == 40

    seen.before = look
    on(seen).register("fraud", source("new"), actor="ann")
    assert reader.newest("fraud") == 41  # the event was heard already, and the log is asked until it is there
    assert list(reader.lines("fraud")) == truth(store, 41)


def test_with_an_age_what_was_told_of_and_never_came_is_waited_for_a_minute(
    on: Makes, store: Store, watched: Any, source: Sources, killed: Any, clock: Any
) -> None:
    seen, ticks, counted = watched(store), Ticking(), watched(store)
    records = Records(counted, clock=clock)
    reader = Index(records, Feed(records, max_age=1e9, monotonic=ticks))

    def die(verb: str, key: str) -> None:
        if verb == "create" and "/log/" in key:
            raise killed

    seen.before = die
    with pytest.raises(killed):
        on(seen).register("fraud", source("new"), actor="ann")
    for later in (0, 30, 40):
        clock.advance(seconds=later)
        assert reader.newest("fraud") == 40
    counted.requests.clear()
    assert reader.newest("fraud") == 40
    assert counted.requests == []


def test_with_an_age_ones_own_writing_is_shown_at_once(on: Makes, store: Store, source: Sources) -> None:
    registry, other = on(store, max_age=1e9), on(store)
    assert len(shown(registry)) == 40
    assert [one.newest for one in registry.models()] == [40]
    other.register("fraud", source("other"), actor="bob")
    assert len(shown(registry)) == 40
    registry.register("fraud", source("mine"), actor="ann")
    assert shown(registry) == truth(store, 42)
    assert [one.newest for one in registry.models()] == [42]
    registry.record(ref(1), SCAN)
    assert shown(registry) == truth(store, 42)
    registry.delete(ref(42), actor="ann")
    assert shown(registry) == truth(store, 42)
    assert [one.newest for one in registry.models()] == [41]


def test_a_clock_that_is_half_a_minute_off_is_heard_all_the_same(on: Makes, store: Store, clock: Any) -> None:
    reader = on(store)
    shown(reader)
    for n, off in enumerate((-29, 29), start=1):
        assert abs(off) < OVERLAP.total_seconds()
        writer = on(store, clock=lambda off=off: clock() + timedelta(seconds=off))
        writer.record(ref(n), SCAN)
        assert shown(reader) == truth(store, 40)
        on(store).rebuild()
        writer.record(ref(n + 10), SCAN)
        assert shown(on(store)) == truth(store, 40)


def test_no_such_model(on: Makes, store: Store) -> None:
    registry = on(store)
    assert shown(registry)
    with pytest.raises(Exception, match="There is no model nobody"):
        registry.version_lines("nobody", 5)


def test_who_writes_while_another_polls_is_told_of_it_at_once() -> None:
    """The other's answer may be of a moment before the write."""
    store = MemoryStore()
    feed = Feed(Records(store), max_age=1e9)
    heard: list[keys.EventKey] = []
    feed.listen(heard.append)
    listed = store.list

    def slow(prefix: str, **given: Any) -> Iterator[str]:
        store.list = listed  # type: ignore[method-assign]
        found = list(listed(prefix, **given))
        tell(Records(store), Event(kind=EventKind.EDITED, model="fraud", at=utc_now(), by="ann", token="t"))
        feed.forget()
        return iter(found)

    store.list = slow  # type: ignore[method-assign]
    feed.poll()
    assert heard == []
    feed.poll()
    assert [key.model for key in heard] == ["fraud"]
