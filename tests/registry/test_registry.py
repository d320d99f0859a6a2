from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import keys
from registry.aws import Clients
from registry.changes import EventKind
from registry.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from registry.facts import (
    Artifact,
    DType,
    FileFact,
    Format,
    Image,
    Scan,
    Signature,
    SignOff,
    Smoke,
    Source,
    SourceKind,
    Tensor,
    Training,
    Version,
)
from registry.memory import MemoryBytes, MemoryStore
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.s3 import S3Store
from registry.storage import Storage
from registry.store import Store

Sources = Callable[..., Source]
Makes = Callable[..., Registry]
A, B, C = ("sha256:" + letter * 64 for letter in "abc")
FILE = FileFact(path="code/model.pt", size=3, sha256=A)
SCAN = Scan(source=A, size=12, format=Format.TORCHSCRIPT, root="model.pt", files=(FILE,))
ARTIFACT = Artifact(type="mar", source=A, blob=B, size=34, files=(FILE,))
IMAGE = Image(reference=f"ghcr.io/fraud@{C}", artifact=B, base=A, runtime="torchserve", size=56)
AT = datetime(2026, 1, 2, tzinfo=UTC)
SMOKE = Smoke(image=f"ghcr.io/fraud@{C}", passed=True, at=AT, by="ann")
SIGN_OFF = SignOff(note="seen by the board", at=AT, by="ann")
SIGNATURE = Signature(
    inputs=(Tensor(name="x", dtype=DType.FLOAT32, shape=(None, 3)),),
    sample={"instances": [[0, 1, 2]]},
    told_by="a file",
)
FACTS = [SCAN, SIGNATURE, ARTIFACT, IMAGE, SMOKE, SIGN_OFF]
ONE = VersionRef(model="fraud", number=1)


@pytest.fixture(params=["memory", "s3", "moto"])
def store(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture(autouse=True)
def packaged(place: MemoryBytes) -> None:
    """The blob that ARTIFACT names, and another."""
    place.put(keys.blob(B), b"packaged")
    place.put(keys.blob(C), b"packaged again")


def numbers(registry: Registry, model: str = "fraud") -> list[int]:
    return [row.number for row in registry.versions(model)]


def test_versions_are_numbered_from_one_and_listed_newest_first(on: Makes, store: Store, source: Sources) -> None:
    registry = on(store, clock=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    for number in range(1, 12):
        version, created = registry.register("fraud", source(f"j{number}"), actor="ann")
        assert created
        assert version.ref == VersionRef(model="fraud", number=number)
        assert version.source == source(f"j{number}")
        assert (version.created_by, version.created_at.year) == ("ann", 2026)
    assert numbers(on(store)) == list(range(11, 0, -1))
    assert numbers(registry) == list(range(11, 0, -1))
    assert registry.version(VersionRef(model="fraud", number=10)).source == source("j10")


def test_the_same_job_twice_is_one_version(on: Makes, store: Store, source: Sources) -> None:
    first = on(store).register("fraud", source("j1"), actor="ann")
    on(store).register("fraud", source("j2"), actor="ann")
    again = on(store).register("fraud", source("j1"), actor="bob")
    assert again == (first.version, False)
    assert numbers(on(store)) == [2, 1]


def test_models_are_apart_and_the_newest_registration_comes_first(on: Makes, store: Store, source: Sources) -> None:
    registry = on(store)
    names = ["fraud-v2", "fraud", "a", "fraud2", "fraud-v2-b", "z"]
    for name in names:
        assert registry.register(name, source("j1"), actor="ann").version.number == 1
    assert [one.model.name for one in registry.models()] == names[::-1]
    assert numbers(on(store)) == [1]
    assert next(registry.models()).model.created_by == "ann"
    registry.register("fraud", source("j2"), actor="ann")
    assert [one.model.name for one in on(store).models()] == ["fraud", *(n for n in names[::-1] if n != "fraud")]
    assert [one.newest for one in on(store).models()] == [2, 1, 1, 1, 1, 1]


def test_the_state_of_a_version_is_which_facts_there_are(on: Makes, store: Store, source: Sources) -> None:
    registry = on(store)
    registry.register("fraud", source("j1"), actor="ann")
    seen = [registry.facts(ONE).state]
    for fact in FACTS:
        assert registry.record(ONE, fact) == fact
        assert registry.fact(ONE, type(fact)) == fact
        seen.append(registry.facts(ONE).state)
    assert seen == ["registered", "scanned", "scanned", "packaged", "built", "built", "built"]
    told = dict(registry.facts(ONE))
    assert told.pop("deleted") is None
    assert told.pop("signature") == SIGNATURE
    assert told == {"scan": SCAN, "artifact": ARTIFACT, "image": IMAGE, "smoke": SMOKE, "sign_off": SIGN_OFF}
    assert registry.register("fraud", source("j2"), actor="ann").version.number == 2
    assert numbers(on(store)) == [2, 1]


@pytest.mark.parametrize(
    ("fact", "other"),
    [
        (SCAN, SCAN.model_copy(update={"size": 13})),
        (ARTIFACT, ARTIFACT.model_copy(update={"blob": C})),
        (IMAGE, IMAGE.model_copy(update={"runtime": "other"})),
        (SMOKE, SMOKE.model_copy(update={"passed": False})),
        (SIGN_OFF, SIGN_OFF.model_copy(update={"by": "bob"})),
    ],
    ids=["scan", "artifact", "image", "smoke", "sign-off"],
)
def test_a_fact_is_written_once(on: Makes, store: Store, source: Sources, fact: Any, other: Any) -> None:
    registry = on(store)
    registry.register("fraud", source("j1"), actor="ann")
    registry.record(ONE, fact)
    assert on(store).record(ONE, fact) == fact
    with pytest.raises(Conflict, match=rf"^fraud@1 has another {fact.kind} already, .*register a new version\.$"):
        registry.record(ONE, other)
    assert registry.fact(ONE, type(fact)) == fact


def test_a_fact_that_means_the_same_in_other_bytes_is_the_same(on: Makes, source: Sources) -> None:
    store = MemoryStore()
    registry = on(store)
    registry.register("fraud", source("j1"), actor="ann")
    store.create(keys.fact(ONE, "scan"), SCAN.model_dump_json().encode())
    assert registry.record(ONE, SCAN) == SCAN


def test_what_is_not_there_is_said_in_a_sentence(on: Makes, store: Store, source: Sources) -> None:
    registry = on(store)
    assert list(registry.models()) == []
    with pytest.raises(NotFound, match=r"^There is no model fraud: `sluice models` lists them\.$"):
        list(registry.versions("fraud"))
    registry.register("fraud", source("j1"), actor="ann")
    two = VersionRef(model="fraud", number=2)
    sentence = r"^There is no version fraud@2: `sluice versions fraud` lists those there are\.$"
    with pytest.raises(NotFound, match=sentence):
        registry.version(two)
    with pytest.raises(NotFound, match=sentence):
        registry.record(two, SCAN)
    # had that fact been written, the next number would be 3
    assert registry.register("fraud", source("j2"), actor="ann").version.number == 2


@pytest.mark.parametrize("name", ["", "Fraud", "a/b", "../x", "a--b", "x" * 41])
def test_a_bad_name_writes_nothing(on: Makes, name: str, source: Sources) -> None:
    store = MemoryStore()
    with pytest.raises(InvalidInput):
        on(store).register(name, source("j1"), actor="ann")
    with pytest.raises(InvalidInput):
        list(on(store).versions(name))
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"not json", b"\xff\xfe", b"[]", b"null", b'{"model": "../x", "number": 0}', b"[" * 100_000],
    ids=["empty", "no fields", "text", "bytes", "list", "null", "wrong", "deep"],
)
def test_a_corrupt_record_is_refused(on: Makes, source: Sources, data: bytes) -> None:
    store = MemoryStore()
    registry = on(store)
    registry.register("fraud", source("j1"), actor="ann")
    for key in (keys.entry(ONE), keys.model("fraud"), keys.source("fraud", source("j1").identity)):
        stored = store.get(key)
        assert stored
        store.replace(key, data, stored.etag)
    store.create(keys.fact(ONE, "scan"), data)
    for read in (
        lambda: registry.version(ONE),
        lambda: list(registry.versions("fraud")),
        lambda: list(registry.models()),
        lambda: registry.facts(ONE),
        lambda: registry.register("fraud", source("j1"), actor="ann"),
    ):
        with pytest.raises(Refused, match=r"^models/fraud/.*: upgrade Sluice, or restore the object"):
            read()


def test_a_record_of_a_newer_sluice_is_refused(on: Makes, source: Sources) -> None:
    store = MemoryStore()
    version = on(store).register("fraud", source("j1"), actor="ann").version
    stored = store.get(keys.entry(ONE))
    assert stored
    newer = stored.data.replace(b'"model": "fraud"', b'"model": "fraud", "signature": "x"', 1)
    store.replace(keys.entry(ONE), newer, stored.etag)
    with pytest.raises(Refused, match="upgrade Sluice"):
        on(store).version(version.ref)


@pytest.mark.parametrize(
    "key", ["models/fraud/log/0000000000-1.json", "models/fraud/log/.DS_Store", "models/fraud/log/0000000000-1/x"]
)
def test_foreign_objects_are_named_and_stop_a_registration(on: Makes, source: Sources, key: str) -> None:
    store = MemoryStore()
    registry = on(store)
    registry.register("fraud", source("j1"), actor="ann")
    store.create(key, b"")
    for work in (
        lambda: on(store).register("fraud", source("j2"), actor="ann"),
        lambda: list(registry.versions("fraud")),
        lambda: registry.collect(actor="ann"),
    ):
        with pytest.raises(Refused, match=f"{key} was not written by Sluice: remove it"):
            work()


def test_a_foreign_folder_is_no_model(on: Makes, source: Sources) -> None:
    store = MemoryStore()
    on(store).register("fraud", source("j1"), actor="ann")
    for key in ("models/Not A Model/notes.txt", "models//x", "models/readme.txt", "models/empty/x"):
        store.create(key, b"")
    registry = on(store)
    assert [one.model.name for one in registry.models()] == ["fraud"]
    registry.rebuild()
    assert [one.model.name for one in on(store).models()] == ["fraud"]
    assert registry.collect(actor="ann").named == 1


def test_a_registration_costs_what_it_says(
    on: Makes, proxy: Any, proxied: Clients, s3_store: S3Store, source: Sources
) -> None:
    registry = on(S3Store(proxied, s3_store.bucket))

    def cost(work: Callable[[], object]) -> list[str]:
        before = len(proxy.requests)
        work()
        return [request.method for request in proxy.requests[before:]]

    probe = ["PUT", "PUT", "GET", "PUT", "GET"]
    first = cost(lambda: registry.register("fraud", source("j1"), actor="ann"))
    assert first == ["GET", *probe, "PUT", "PUT", "PUT", "PUT"]  # the list, the model, the claim, the event, the entry
    for job in ("j2", "j3"):
        assert cost(lambda job=job: registry.register("fraud", source(job), actor="ann")) == ["PUT", "PUT", "PUT"]
    again = cost(lambda: registry.register("fraud", source("j2"), actor="ann"))
    assert again == ["PUT", "GET", "GET", "GET"]  # the claim that is there, the version, that it was not deleted
    assert cost(lambda: registry.version(ONE)) == ["GET"]
    used = on(S3Store(proxied, s3_store.bucket))
    fourth = cost(lambda: used.register("fraud", source("j4"), actor="ann"))
    assert fourth == ["GET", "GET", "PUT", "GET", "PUT", "GET", "PUT", "PUT", "PUT"]
    # a number that another process took: its entry is read where it was met, and so are those above it
    assert cost(lambda: registry.register("fraud", source("j5"), actor="ann")) == [
        *("PUT", "PUT"),
        *("PUT", "GET", "GET"),
        *("PUT", "PUT"),
    ]


def test_an_upload_costs_one_request_more_which_asks_for_its_blob(
    proxy: Any, proxied: Clients, s3_store: S3Store
) -> None:
    registry = Registry(Storage.s3(proxied, s3_store.bucket))
    registry.register("fraud", upload(registry, b"one"), actor="ann")
    second = upload(registry, b"two")
    before = len(proxy.requests)
    registry.register("fraud", second, actor="ann")
    assert [request.method for request in proxy.requests[before:]] == ["PUT", "HEAD", "PUT", "PUT"]


def upload(registry: Registry, data: bytes) -> Source:
    blob = registry.storage.blobs.put([data], what="upload", progress=Silent())
    return Source(kind=SourceKind.UPLOAD, uri=blob.digest, size=blob.size, digest=blob.digest)


REQUESTS = 9  # of a first registration over a Store, which counts a conflict as one


def test_how_many_instants_there_are_to_be_killed_at(on: Makes, interrupted: Any, source: Sources) -> None:
    store = interrupted(MemoryStore(), lambda: None)
    on(store).register("fraud", source("j1"), actor="ann")
    assert len(store.verbs) == REQUESTS - 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("n", range(1, REQUESTS))
def test_killed_at_any_request_and_run_again_it_is_one_version(
    on: Makes, interrupted: Any, killed: type[BaseException], source: Sources, n: int, after: bool
) -> None:
    inner = MemoryStore()
    on(inner).register("other", source("j1"), actor="ann")

    def die() -> None:
        raise killed

    for job in ("j1", "j2"):
        with suppress(killed):
            on(interrupted(inner, die, n, after=after)).register("fraud", source(job), actor="ann")
    for job in ("j2", "j1", "j3", "j1"):
        on(inner).register("fraud", source(job), actor="ann")
    rows = list(on(inner).versions("fraud"))
    assert [row.number for row in rows] == [3, 2, 1]
    assert {row.name for row in rows} == {"j1", "j2", "j3"}
    assert registrations(on(inner)) == {1, 2, 3}


def registrations(registry: Registry, model: str = "fraud") -> set[int | None]:
    """The versions of whose registration the events tell."""
    told = [one.event for one in registry.events().events]
    found = [event.number for event in told if event.kind is EventKind.REGISTERED and event.model == model]
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("intruder", ["j1", "j2"], ids=["same job", "other job"])
@pytest.mark.parametrize("n", range(1, REQUESTS))
def test_whatever_another_writer_does_between_two_requests(
    on: Makes, interrupted: Any, source: Sources, n: int, intruder: str, after: bool
) -> None:
    inner = MemoryStore()

    def intrude() -> None:
        for job in (intruder, "j3"):
            on(inner).register("fraud", source(job), actor="bob")

    registry = on(interrupted(inner, intrude, n, after=after))
    found = registry.register("fraud", source("j1"), actor="ann")
    intrude()
    rows = list(on(inner).versions("fraud"))
    assert sorted(row.name for row in rows) == sorted({"j1", intruder, "j3"})
    assert [row.number for row in rows] == list(range(len(rows), 0, -1))
    assert rows == list(registry.versions("fraud"))
    assert registrations(on(inner)) == {row.number for row in rows}
    assert on(inner).version(found.version.ref) == found.version
    assert found.version.source == source("j1")
    assert found.created == (found.version.created_by == "ann")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("n", range(1, 8))
def test_killed_while_a_fact_is_recorded(
    on: Makes, interrupted: Any, killed: type[BaseException], source: Sources, n: int, after: bool
) -> None:
    inner = MemoryStore()
    on(inner).register("fraud", source("j1"), actor="ann")

    def die() -> None:
        raise killed

    store = interrupted(inner, die, n, after=after)
    with pytest.raises(killed):
        on(store).record(ONE, SCAN)
    assert on(inner).fact(ONE, Scan) in (None, SCAN)
    assert on(inner).record(ONE, SCAN, actor="bob") == SCAN
    told = [one.event.fact for one in on(inner).events().events if one.event.kind is EventKind.RECORDED]
    assert set(told) == {"scan"}


@pytest.mark.parametrize("fault", ["lost request", "lost answer"])
def test_lost_messages_are_never_two_versions(
    on: Makes, proxy: Any, proxied: Clients, s3_store: S3Store, source: Sources, fault: str
) -> None:
    """Every request of a registration is lost once, each on its own."""
    registry = on(S3Store(proxied, s3_store.bucket))
    lost: set[int] = set()

    def lose(_: Any) -> str:
        number = len(proxy.requests)
        if number % 2:
            lost.add(number)
            return fault
        return ""

    proxy.fault = lose
    made = registry.register("fraud", source("j1"), actor="ann")
    assert made.created
    registry.record(ONE, SCAN)
    assert len(lost) >= 8
    proxy.fault = lambda _: ""
    assert registry.register("fraud", source("j1"), actor="bob") == (made.version, False)
    assert numbers(on(s3_store)) == [1]
    assert registry.facts(ONE).state == "scanned"


def test_a_store_that_is_away_is_unavailable_and_nothing_is_half_done(
    on: Makes, proxy: Any, proxied: Clients, s3_store: S3Store, source: Sources
) -> None:
    proxy.fault = lambda _: "lost request"
    with pytest.raises(Unavailable):
        on(S3Store(proxied, s3_store.bucket)).register("fraud", source("j1"), actor="ann")
    assert list(s3_store.list("")) == []


LINES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=5)
METRICS = st.dictionaries(LINES, st.floats(), max_size=4)


@given(METRICS, METRICS, st.dictionaries(LINES, LINES, max_size=3), st.dictionaries(LINES, LINES, max_size=3))
def test_a_version_reads_as_it_was_written(
    trained: dict[str, float], given: dict[str, float], parameters: dict[str, str], tags: dict[str, str]
) -> None:
    training = Training(job="j", arn="arn:j", image="i", metrics=trained, hyperparameters=parameters)
    source = Source(uri="s3://abc/k", etag='"e"', size=1, training=training)
    store = MemoryStore()
    registry = Registry(Storage.memory(store))
    registry.register("fraud", source, actor="ann", metrics=given, tags=tags, git_commit="0f", description="first\n")
    read = Registry(Storage.memory(store)).version(ONE)
    assert read.source.hyperparameters == parameters
    assert (read.tags, read.git_commit, read.description) == (tags, "0f", "first\n")
    same(read.source.training.metrics if read.source.training else {}, trained)
    same(read.metrics, {**trained, **given})
    same(next(registry.versions("fraud")).metrics, {**trained, **given})


def same(read: Mapping[str, float], written: Mapping[str, float]) -> None:
    assert read.keys() == written.keys()
    for name, value in written.items():
        assert read[name] == value or (math.isnan(value) and math.isnan(read[name]))


def test_equal_records_are_equal_bytes(on: Makes, source: Sources) -> None:
    version = on(MemoryStore()).register("fraud", source("j1", metrics={"a": 1.5}), actor="ann").version
    assert Version.model_validate_json(version.to_bytes()).to_bytes() == version.to_bytes()
    assert version.to_bytes().endswith(b"}\n")


def test_a_record_that_is_another_versions_is_refused(on: Makes, memory_store: MemoryStore, source: Sources) -> None:
    registry = on(memory_store)
    for name in ("fraud", "other"):
        registry.register(name, source("j"), actor="a")
    stored = memory_store.get("models/other/log/9999999998-1.json")
    mine = memory_store.get("models/fraud/log/9999999998-1.json")
    assert stored is not None
    assert mine is not None
    memory_store.replace("models/fraud/log/9999999998-1.json", stored.data, mine.etag)
    with pytest.raises(Refused, match="is the record of other@1"):
        registry.version(VersionRef(model="fraud", number=1))
