"""Moving house: a model from one bucket to another, whole, and again after it broke off."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from registry import keys
from registry.audit import audit
from registry.aws import Clients
from registry.changes import Approval, ModelEdit
from registry.errors import Conflict, NotFound, Refused
from registry.facts import Artifact, FileFact, Format, Scan, Source, SourceKind
from registry.memory import MemoryBytes
from registry.moving import Moved, move_model
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage

Sources = Callable[..., Source]
ONE, TWO, THREE = (VersionRef(model="fraud", number=number) for number in (1, 2, 3))


def furnish(storage: Storage) -> Registry:
    """A model with three versions, one packaged, one deleted; an alias that moved, a decision, and a description."""
    registry = Registry(storage)
    for data in (b"one", b"two", b"three"):
        blob = storage.blobs.put([data], what="x", progress=Silent())
        source = Source(kind=SourceKind.UPLOAD, uri=blob.digest, digest=blob.digest, size=blob.size)
        registry.register("fraud", source, actor="ann", metrics={"auc": float("nan")})
    digest = registry.version(ONE).source.digest
    assert digest is not None
    file = FileFact(path="m", size=1, sha256=digest)
    registry.record(ONE, Scan(source=digest, size=3, format=Format.TORCHSCRIPT, root="m", files=(file,)))
    packed = storage.blobs.put([b"packed"], what="x", progress=Silent())
    registry.record(ONE, Artifact(type="mar", source=digest, blob=packed.digest, size=packed.size, files=(file,)))
    registry.set_alias(ONE, "champion", actor="ann", reason="first")
    registry.set_alias(THREE, "champion", actor="bob")
    registry.decide(THREE, Approval.APPROVED, actor="cy", reason="looks good")
    registry.delete(TWO, actor="ann", reason="wrong data")
    registry.edit_model("fraud", ModelEdit(description="finds fraud", tags={"team": "risk"}), actor="ann")
    return registry


def everything(storage: Storage) -> dict[str, bytes]:
    """What a registry's records are, but for its events and caches."""
    found = {}
    for key in storage.store.list("models/"):
        stored = storage.store.get(key)
        assert stored is not None
        if "/index/" not in key:
            found[key] = stored.data
    return found


def move(source: Storage, target: Storage) -> Moved:
    return move_model("fraud", source, target, actor="mover", progress=Silent())


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> tuple[Storage, Storage]:
    return Storage.memory(), Storage.memory()


@pytest.fixture
def s3_pair(clients: Clients, new_bucket: Callable[[], str]) -> tuple[Storage, Storage]:
    return Storage.s3(clients, new_bucket()), Storage.s3(clients, new_bucket())


@pytest.mark.parametrize("kind", ["pair", "s3_pair"])
def test_all_of_a_model_arrives_as_it_was(kind: str, request: pytest.FixtureRequest) -> None:
    source, target = request.getfixturevalue(kind)
    home = furnish(source)
    moved = move(source, target)
    there = Registry(target)
    assert everything(target) == everything(source)
    assert (moved.versions, moved.copies) == (3, 3)
    assert [row.number for row in there.versions("fraud")] == [3, 1]
    assert there.alias_history("fraud", "champion") == home.alias_history("fraud", "champion")
    assert b"".join(target.outputs.chunks(there.version(THREE))) == b"three"
    assert there.verify(ONE).good
    assert audit(target, progress=Silent()).findings == ()


def test_the_bytes_of_a_deleted_version_stay_where_they_are() -> None:
    source, target = Storage.memory(), Storage.memory()
    home = furnish(source)
    move(source, target)
    assert target.outputs.size(home.version(TWO).output) is None


def test_moving_again_moves_nothing(pair: tuple[Storage, Storage]) -> None:
    furnish(pair[0])
    move(*pair)
    again = move(*pair)
    assert again == Moved(model="fraud", versions=0, records=0, copies=0, copied_size=0)


def test_moving_again_brings_what_is_new(pair: tuple[Storage, Storage]) -> None:
    home = furnish(pair[0])
    move(*pair)
    blob = pair[0].blobs.put([b"four"], what="x", progress=Silent())
    home.register(
        "fraud", Source(kind=SourceKind.UPLOAD, uri=blob.digest, digest=blob.digest, size=blob.size), actor="ann"
    )
    home.set_alias(VersionRef(model="fraud", number=4), "champion", actor="ann")
    home.decide(ONE, Approval.REJECTED, actor="cy", reason="late")
    moved = move(*pair)
    assert moved.versions == 1
    assert everything(pair[1]) == everything(pair[0])


def test_a_model_of_that_name_with_versions_of_its_own_is_left_alone(pair: tuple[Storage, Storage]) -> None:
    furnish(pair[0])
    blob = pair[1].blobs.put([b"mine"], what="x", progress=Silent())
    other = Registry(pair[1])
    mine = Source(kind=SourceKind.UPLOAD, uri=blob.digest, digest=blob.digest, size=blob.size)
    version = other.register("fraud", mine, actor="zoe").version
    with pytest.raises(Conflict, match="another one in the other bucket"):
        move(*pair)
    assert other.version(ONE) == version


def test_what_does_not_exist_cannot_move(pair: tuple[Storage, Storage]) -> None:
    with pytest.raises(NotFound, match="no model fraud to move"):
        move(*pair)


class Broken(Exception):
    pass


class BreaksOff:
    """A store whose n-th write, and every one after, fails."""

    def __init__(self, inner: object, n: int) -> None:
        self._inner, self._left = inner, n

    def __getattr__(self, name: str) -> object:
        act = getattr(self._inner, name)
        if name not in ("create", "replace"):
            return act

        def write(*arguments: object) -> object:
            self._left -= 1
            if self._left < 0:
                raise Broken
            return act(*arguments)

        return write


def test_broken_off_anywhere_nothing_half_moved_is_visible_and_moving_again_finishes_it() -> None:
    source = Storage.memory()
    furnish(source)
    wanted = everything(source)
    for n in range(100):
        target = Storage.memory()
        broken = dataclasses.replace(target, store=BreaksOff(target.store, n))  # type: ignore[arg-type]
        try:
            move(source, broken)
        except Broken:
            for row in Registry(target).versions("fraud") if target.store.get(keys.model("fraud")) else ():
                if row.state != "deleted":
                    assert Registry(target).verify(row.ref).good
            findings = audit(target, progress=Silent()).findings
            assert [one for one in findings if "deleted.json is about no version" not in one] == []
            move(source, target)
            assert everything(target) == wanted
        else:
            assert n > 10
            return
    raise AssertionError("it never got to its end")


def test_events_tell_of_what_arrived(pair: tuple[Storage, Storage]) -> None:
    furnish(pair[0])
    move(*pair)
    told = [(one.event.kind.value, one.event.number) for one in Registry(pair[1]).events().events]
    assert told == [("registered", 1), ("registered", 2), ("registered", 3), ("aliased", 3)]


def test_bytes_that_are_gone_stop_the_move_before_the_version_is_seen(pair: tuple[Storage, Storage]) -> None:
    home = furnish(pair[0])
    assert isinstance(pair[0].bytes, MemoryBytes)
    pair[0].bytes.delete([home.version(THREE).output])
    with pytest.raises(NotFound):
        move(*pair)
    assert [row.number for row in Registry(pair[1]).versions("fraud")] == [1]


def test_an_alias_that_went_its_own_way_there_is_not_pulled_back(pair: tuple[Storage, Storage]) -> None:
    home = furnish(pair[0])
    move(*pair)
    later = Registry(pair[1], clock=lambda: datetime.now(UTC) + timedelta(hours=1))
    later.set_alias(ONE, "champion", actor="zoe")
    home.set_alias(ONE, "champion", actor="ann")
    with pytest.raises(Conflict, match="moved on its own"):
        move(*pair)
    assert later.alias_history("fraud", "champion")[0].by == "zoe"


def _tampered(storage: Storage, key: str, old: bytes, new: bytes) -> None:
    stored = storage.store.get(key)
    assert stored is not None
    assert old in stored.data
    storage.store.replace(key, stored.data.replace(old, new), stored.etag)


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        (keys.model("fraud"), b'"name": "fraud"', b'"name": "secret"'),
        (keys.entry(ONE), b'"model": "fraud"', b'"model": "secret"'),
        (keys.entry(ONE), b'"number": 1', b'"number": 4'),
        (keys.entry(ONE), b'"output": "', b'"output": "models/secret/model.json'),
        (keys.alias("fraud", "champion"), b'"model": "fraud"', b'"model": "secret"'),
    ],
)
def test_the_other_buckets_records_write_nothing_of_other_models(
    pair: tuple[Storage, Storage], key: str, old: bytes, new: bytes
) -> None:
    furnish(pair[0])
    _tampered(pair[0], key, old, new)
    with pytest.raises(Refused):
        move(*pair)
    assert list(pair[1].store.list("models/secret/")) == []


def test_bytes_that_are_there_are_not_written_over(pair: tuple[Storage, Storage]) -> None:
    home = furnish(pair[0])
    output = home.version(ONE).output
    assert isinstance(pair[1].bytes, MemoryBytes)
    pair[1].bytes.put(output, b"of another size")
    with pytest.raises(Refused, match="not for the bytes of this model"):
        move(*pair)
    assert pair[1].bytes.get(output) == b"of another size"


def test_damaged_bytes_are_not_brought_and_once_restored_the_move_goes_on(pair: tuple[Storage, Storage]) -> None:
    home = furnish(pair[0])
    output = home.version(THREE).output
    assert isinstance(pair[0].bytes, MemoryBytes)
    pair[0].bytes.put(output, b"cut")
    with pytest.raises(NotFound, match="sluice verify"):
        move(*pair)
    pair[0].bytes.put(output, b"three")
    assert move(*pair).versions == 1
