"""What an alias names is kept in mind for as long as a registry may be behind, and no longer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry.facts import Source
from registry.names import AliasRef, VersionRef
from registry.registry import Registry
from registry.storage import Storage

CHAMPION, LATEST = AliasRef(model="fraud", alias="champion"), AliasRef(model="fraud", alias="latest")


def ref(number: int) -> VersionRef:
    return VersionRef(model="fraud", number=number)


@pytest.fixture
def storage(source: Callable[..., Source]) -> Storage:
    storage = Storage.memory()
    registry = Registry(storage)
    for job in ("j1", "j2"):
        registry.register("fraud", source(job), actor="ann")
    registry.set_alias(ref(1), "champion", actor="ann")
    return storage


def test_without_leave_to_be_behind_every_answer_is_new(storage: Storage) -> None:
    reader = Registry(storage)
    assert reader.resolve(CHAMPION) == ref(1)
    Registry(storage).set_alias(ref(2), "champion", actor="ann")
    assert reader.resolve(CHAMPION) == ref(2)


def test_with_leave_the_answer_costs_nothing_and_ones_own_moves_are_seen(
    storage: Storage, source: Callable[..., Source], interrupted: type
) -> None:
    counted = interrupted(storage.store, lambda: None)
    registry = Registry(Storage(counted, storage.outputs, storage.blobs, storage.bytes), max_age=3600)
    assert (registry.resolve(CHAMPION), registry.resolve(LATEST)) == (ref(1), ref(2))
    counted.verbs.clear()
    assert (registry.resolve(CHAMPION), registry.resolve(LATEST)) == (ref(1), ref(2))
    assert counted.verbs == []
    registry.set_alias(ref(2), "champion", actor="ann")
    assert registry.resolve(CHAMPION) == ref(2)
    registry.register("fraud", source("j3"), actor="ann")
    assert registry.resolve(LATEST) == ref(3)
    registry.delete(ref(3), actor="ann")
    assert registry.resolve(LATEST) == ref(2)


def test_what_was_read_before_ones_own_move_is_not_kept(storage: Storage, interrupted: type) -> None:
    def move() -> None:
        registry.set_alias(ref(2), "champion", actor="ann")

    store = interrupted(storage.store, move, 1, after=True)
    registry = Registry(Storage(store, storage.outputs, storage.blobs, storage.bytes), max_age=3600)
    assert registry.resolve(CHAMPION) == ref(1)  # which it was when it was asked
    assert registry.resolve(CHAMPION) == ref(2)
