"""The list of models against the truth, whatever its cache says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from registry import index, keys
from registry.catalog import Catalog
from registry.changes import ModelEdit, Summary
from registry.facts import Source
from registry.feed import Feed
from registry.memory import MemoryStore
from registry.names import VersionRef
from registry.records import Records
from registry.registry import Registry
from registry.store import Store

Sources = Callable[..., Source]
Makes = Callable[..., Registry]


def truth(store: Store) -> list[Summary]:
    return list(Catalog(Records(store), Feed(Records(store))).anew())


def put(store: Store, key: str, data: bytes) -> None:
    stored = store.get(key)
    if stored is None:
        store.create(key, data)
    else:
        store.replace(key, data, stored.etag)


def data_of(store: Store) -> bytes:
    stored = store.get(keys.CATALOG)
    assert stored
    return stored.data


@pytest.fixture
def store(bulk: Callable[..., None]) -> Store:
    """Twenty models of long ago: more than are looked at without writing the catalog."""
    store = MemoryStore()
    for n in range(20):
        bulk(store, 1 + n % 3, model=f"m{n:02}")
    return store


def test_the_first_list_leaves_the_catalog_for_the_next_process(on: Makes, store: Store, watched: Any) -> None:
    assert len(truth(store)) == 20
    assert list(on(store).models()) == truth(store)
    seen = watched(store)
    registry = on(seen)
    assert list(registry.models()) == truth(store)
    assert len(seen.requests) == 3
    seen.requests.clear()
    assert list(registry.models()) == truth(store)
    assert seen.requests == [("list", keys.EVENTS)]


def test_only_models_that_changed_are_read_again(on: Makes, store: Store, watched: Any, source: Sources) -> None:
    seen = watched(store)
    registry = on(seen)
    list(registry.models())
    on(store).register("m07", source("new"), actor="ann")
    seen.requests.clear()
    found = list(registry.models())
    assert found == truth(store)
    assert (found[0].model.name, found[0].newest) == ("m07", 3)
    assert len(seen.requests) <= 5


def test_what_happened_while_nobody_asked_is_shown(on: Makes, store: Store, clock: Any, source: Sources) -> None:
    reader, writer = on(store), on(store)
    list(reader.models())
    for minutes in (0, 0.5, 10, 600):
        clock.advance(minutes=minutes)
        writer.register("m03", source(f"at-{minutes}"), actor="ann")
        writer.register(f"new-{int(minutes * 10)}", source("x"), actor="ann")
        writer.edit_model("m04", ModelEdit(owner=f"owner {minutes}"), actor="ann")
        clock.advance(minutes=minutes)
        assert list(reader.models()) == truth(store) == list(on(store).models())
    writer.delete(VersionRef(model="m03", number=next(writer.versions("m03")).number), actor="ann")
    writer.delete_model("m05", actor="ann")
    assert list(reader.models()) == truth(store) == list(on(store).models())
    clock.advance(hours=10)
    assert list(reader.models()) == truth(store) == list(on(store).models())
    assert "m05" not in [one.model.name for one in reader.models()]


def test_a_model_all_of_whose_versions_were_deleted_is_still_listed(on: Makes, store: Store) -> None:
    registry = on(store)
    registry.delete(VersionRef(model="m00", number=1), actor="ann")
    found = {one.model.name: one for one in registry.models()}["m00"]
    assert found.newest is None
    assert found.updated_at == found.model.created_at


def test_a_model_whose_first_registration_was_broken_off_is_not_listed(
    on: Makes, store: Store, watched: Any, killed: Any, source: Sources
) -> None:
    seen, reader = watched(store), on(store)
    list(reader.models())

    def die(verb: str, key: str) -> None:
        if verb == "create" and key.startswith("models/broken/log/"):
            raise killed

    seen.before = die
    with pytest.raises(killed):
        on(seen).register("broken", source("j"), actor="ann")
    assert store.get(keys.model("broken"))
    assert "broken" not in [one.model.name for one in reader.models()]
    assert list(reader.models()) == list(on(store).models()) == truth(store)
    on(store).register("broken", source("j"), actor="ann")
    assert next(reader.models()).model.name == "broken"


def _parts(data: bytes) -> tuple[str, list[bytes]]:
    first, *lines = data.splitlines()
    return index.Head.model_validate_json(first).cursor, lines


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _one_less(data: bytes) -> bytes:
    return data[: data.rstrip(b"\n").rfind(b"\n") + 1]


def _lied(data: bytes) -> bytes:
    return data.replace(b'"newest":1', b'"newest":7')


def _later(data: bytes) -> bytes:
    return index.packed("99990101T000000.000000Z", _parts(data)[1][:3])


def _no_summaries(data: bytes) -> bytes:
    return index.packed(_parts(data)[0], [b"{}", b"[]"])


CONTENTS = [b"", b"\n", b"{}", b"\xff\xfe\0", b"[" * 100_000, b"not json\n{}\n"]


@pytest.mark.parametrize(
    "damage",
    [_cut, _one_less, _lied, _later, _no_summaries, *(lambda _, data=data: data for data in CONTENTS)],
    ids=lambda d: d.__name__.strip("_<>"),
)
def test_a_wrong_catalog_costs_requests_and_nothing_else(
    on: Makes, store: Store, damage: Callable[[bytes], bytes]
) -> None:
    on(store).rebuild()
    put(store, keys.CATALOG, damage(data_of(store)))
    assert list(on(store).models()) == truth(store)
    assert len(_parts(data_of(store))[1]) == 20


def test_five_thousand_events_are_too_many_to_look_through(
    on: Makes, store: Store, clock: Any, source: Sources
) -> None:
    registry = on(store)
    registry.rebuild()
    registry.register("m01", source("before"), actor="ann")
    for n in range(5_001):
        store.create(str(keys.EventKey(keys.event_time(clock()), f"t{n}", "m02", 1, 1, "scan")), b"")
    registry.register("m09", source("after"), actor="ann")
    clock.advance(minutes=5)
    assert list(on(store).models()) == truth(store)


@pytest.mark.parametrize("seconds", [0, 20, 45, 200])
def test_an_event_that_is_seen_before_its_version(
    on: Makes, store: Store, watched: Any, source: Sources, clock: Any, seconds: int
) -> None:
    seen, reader = watched(store), on(store)
    list(reader.models())

    def look(verb: str, key: str) -> None:
        if verb == "create" and "/log/" in key:
            assert list(reader.models()) == truth(store)
            clock.advance(seconds=seconds)
            assert list(reader.models()) == truth(store)

    seen.before = look
    on(seen).register("m01", source("new"), actor="ann")
    assert list(reader.models()) == truth(store)
    clock.advance(hours=1)
    assert list(reader.models()) == truth(store) == list(on(store).models())


def test_two_that_write_the_catalog_at_once(on: Makes, store: Store, watched: Any) -> None:
    seen = watched(store)

    def intrude(verb: str, key: str) -> None:
        if verb in ("create", "replace") and key == keys.CATALOG:
            on(store).rebuild()

    seen.before = intrude
    assert list(on(seen).models()) == truth(store) == list(on(store).models())
