from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from registry import keys
from registry.errors import NotFound
from registry.facts import Artifact, Format, Scan, Source, SourceKind
from registry.memory import MemoryBytes, MemoryStore
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.store import Store
from registry.verify import Verdict

Makes = Callable[..., Registry]
Sources = Callable[..., Source]
ZEROS = "sha256:" + hashlib.sha256(bytes(12)).hexdigest()
PACKED = "sha256:" + hashlib.sha256(b"packed").hexdigest()


def ref(number: int, model: str = "fraud") -> VersionRef:
    return VersionRef(model=model, number=number)


@pytest.fixture
def store() -> Store:
    return MemoryStore()


@pytest.fixture
def registry(on: Makes, store: Store, source: Sources, place: MemoryBytes) -> Registry:
    """A version that was scanned and packaged."""
    registry = on(store)
    registry.register("fraud", source("j1"), actor="ann")
    registry.record(ref(1), Scan(source=ZEROS, size=12, format=Format.TORCHSCRIPT, root="m", files=()))
    registry.storage.blobs.put([b"packed"], what="", progress=Silent())
    registry.record(ref(1), Artifact(type="mar", source=ZEROS, blob=PACKED, size=6, files=()))
    return registry


def verdicts(registry: Registry, number: int = 1) -> dict[str, Verdict]:
    return {check.what: check.verdict for check in registry.verify(ref(number)).checks}


def test_bytes_that_are_the_ones_recorded_are_good(registry: Registry) -> None:
    found = registry.verify(ref(1))
    assert verdicts(registry) == {"output": Verdict.GOOD, "artifact": Verdict.GOOD}
    assert found.good
    assert [(check.size, check.found, check.expected) for check in found.checks] == [
        (12, ZEROS, ZEROS),
        (6, PACKED, PACKED),
    ]


@pytest.mark.parametrize("data", [b"x" * 12, b"x" * 11, b"", bytes(13)], ids=["others", "shorter", "empty", "longer"])
def test_an_output_that_is_another_is_damaged(registry: Registry, place: MemoryBytes, data: bytes) -> None:
    place.put(registry.version(ref(1)).output, data)
    assert verdicts(registry) == {"output": Verdict.DAMAGED, "artifact": Verdict.GOOD}
    assert not registry.verify(ref(1)).good


def test_an_artifact_that_is_another_is_damaged_and_one_that_is_gone_missing(
    registry: Registry, place: MemoryBytes
) -> None:
    place.put(keys.blob(PACKED), b"hacked")
    assert verdicts(registry) == {"output": Verdict.GOOD, "artifact": Verdict.DAMAGED}
    place.delete([keys.blob(PACKED), registry.version(ref(1)).output])
    assert verdicts(registry) == {"output": Verdict.MISSING, "artifact": Verdict.MISSING}
    assert not registry.verify(ref(1)).good


def test_before_a_scan_only_the_size_is_known(registry: Registry, place: MemoryBytes, source: Sources) -> None:
    registry.register("fraud", source("j2"), actor="ann")
    found = registry.verify(ref(2))
    assert verdicts(registry, 2) == {"output": Verdict.UNKNOWN}
    assert found.good
    assert found.checks[0].found == ZEROS
    place.put(registry.version(ref(2)).output, b"short")
    assert verdicts(registry, 2) == {"output": Verdict.DAMAGED}


def test_an_uploads_digest_is_known_from_the_start(registry: Registry, place: MemoryBytes) -> None:
    registry.register("fraud", Source(kind=SourceKind.UPLOAD, uri=PACKED, digest=PACKED, size=6), actor="ann")
    assert verdicts(registry, 2) == {"output": Verdict.GOOD}
    place.put(keys.blob(PACKED), b"hacked")
    assert verdicts(registry, 2) == {"output": Verdict.DAMAGED}


def test_a_number_without_bytes_has_nothing_to_read(registry: Registry) -> None:
    registry.register("fraud", Source(kind=SourceKind.NONE, uri="mlflow:9", size=0), actor="ann")
    assert registry.verify(ref(2)).checks == ()
    with pytest.raises(NotFound):
        registry.verify(ref(3))


def test_all_are_read_in_order_and_from_where_it_was_broken_off(registry: Registry, source: Sources) -> None:
    for n in range(2, 5):
        registry.register("fraud", source(f"j{n}"), actor="ann")
    registry.register("churn", source("c1"), actor="ann")
    registry.delete(ref(3), actor="ann")
    order = [ref(1, "churn"), ref(4), ref(2), ref(1)]
    assert [one.ref for one in registry.verify_all()] == order
    for n, after in enumerate(order, start=1):
        assert [one.ref for one in registry.verify_all(after=after)] == order[n:]


def test_progress_is_told(registry: Registry) -> None:
    told: list[tuple[str, int, Any]] = []

    class Heard(Silent):
        def bytes(self, what: str, done: int, total: int | None) -> None:
            told.append((what, done, total))

    registry.verify(ref(1), Heard())
    assert told == [("verify output", 12, 12), ("verify artifact", 6, 6)]
