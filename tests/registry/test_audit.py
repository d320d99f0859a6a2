"""The audit finds each thing that can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from registry import keys
from registry.audit import audit
from registry.facts import Entry, Source, SourceClaim
from registry.memory import MemoryBytes, MemoryStore
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage

Sources = Callable[..., Source]
ONE, TWO = VersionRef(model="fraud", number=1), VersionRef(model="fraud", number=2)


def furnished(source: Sources, actor: str) -> Storage:
    storage = Storage.memory()
    # what happened in the last minute is read from the records anyway
    registry = Registry(storage, clock=lambda: datetime.now(UTC) - timedelta(hours=1))
    for name in ("j1", "j2", "j3"):
        registry.register("fraud", source(name), actor=actor)
    registry.set_alias(TWO, "champion", actor=actor)
    Registry(storage).rebuild()
    return storage


@pytest.fixture
def storage(source: Sources) -> Storage:
    return furnished(source, "ann")


@pytest.fixture
def other(source: Sources) -> Storage:
    return furnished(source, "eve")


def findings(storage: Storage) -> list[str]:
    return list(audit(storage, progress=Silent()).findings)


def put(storage: Storage, key: str, data: bytes) -> None:
    assert isinstance(storage.store, MemoryStore)
    there = storage.store.get(key)
    if there is None:
        storage.store.create(key, data)
    else:
        storage.store.replace(key, data, there.etag)


def test_a_registry_that_is_well_has_no_findings(storage: Storage) -> None:
    result = audit(storage, progress=Silent())
    assert (result.models, result.versions, result.findings) == (1, 3, ())


def test_a_hole_in_the_numbers(storage: Storage, source: Sources) -> None:
    registry = Registry(storage)
    version = registry.version(TWO).model_copy(update={"number": 5, "source": source("j5")})
    five = VersionRef(model="fraud", number=5)
    put(storage, keys.entry(five), Entry(token="t", versions=(version,)).to_bytes())
    assert "fraud: version 5 follows 3." in findings(storage)


def test_one_source_twice(storage: Storage) -> None:
    version = Registry(storage).version(TWO).model_copy(update={"number": 4})
    put(storage, keys.entry(VersionRef(model="fraud", number=4)), Entry(token="t", versions=(version,)).to_bytes())
    assert "fraud@4 has the source of fraud@2." in findings(storage)


def test_a_claim_above_its_version(storage: Storage, source: Sources) -> None:
    identity = source("j1").identity
    put(storage, keys.source("fraud", identity), SourceClaim(identity=identity, after=1).to_bytes())
    assert "fraud@1: its source is claimed from 2 on." in findings(storage)


def test_a_fact_about_no_version(storage: Storage) -> None:
    put(storage, keys.fact(VersionRef(model="fraud", number=9), "smoke"), b"{}")
    assert any("not a smoke record" in one or "about no version" in one for one in findings(storage))


def test_bytes_that_are_gone(storage: Storage) -> None:
    assert isinstance(storage.bytes, MemoryBytes)
    output = Registry(storage).version(ONE).output
    storage.bytes.delete([output])
    assert f"fraud@1: {output} has None bytes, not 12." in findings(storage)


def test_an_alias_of_a_deleted_version(storage: Storage) -> None:
    put(storage, keys.fact(TWO, "deleted"), b'{"reason": "", "at": "2026-01-01T00:00:00Z", "by": "ann"}')
    assert "fraud@champion names version 2, which was deleted." in findings(storage)


def test_an_index_that_lies(storage: Storage, other: Storage) -> None:
    key = keys.segment("fraud", 0)
    stored = other.store.get(key)
    assert stored is not None
    put(storage, key, stored.data)
    assert len([one for one in findings(storage) if "sluice rebuild fraud" in one]) == 3
    Registry(storage).rebuild("fraud")
    assert findings(storage) == []


def test_a_catalog_that_lies(storage: Storage, other: Storage) -> None:
    stored = other.store.get(keys.CATALOG)
    assert stored is not None
    put(storage, keys.CATALOG, stored.data)
    assert findings(storage) == ["fraud: the catalog says something else than the records; `sluice rebuild` mends it."]
    Registry(storage).rebuild()
    assert findings(storage) == []
