from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import keys
from registry.aws import Clients
from registry.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from registry.facts import Artifact, FileFact, Format, Image, Scan, Source, Training, Version
from registry.memory import MemoryStore
from registry.names import VersionRef
from registry.registry import Registry
from registry.s3 import S3Store
from registry.store import Store

Sources = Callable[..., Source]
A, B, C = ("sha256:" + letter * 64 for letter in "abc")
FILE = FileFact(path="code/model.pt", size=3, sha256=A)
SCAN = Scan(source=A, size=12, format=Format.TORCHSCRIPT, root="model.pt", files=(FILE,))
ARTIFACT = Artifact(type="mar", source=A, blob=B, size=34, files=(FILE,))
IMAGE = Image(reference=f"ghcr.io/fraud@{C}", artifact=B, base=A, runtime="torchserve", size=56)
FACTS = [SCAN, ARTIFACT, IMAGE]
ONE = VersionRef(model="fraud", number=1)


@pytest.fixture(params=["memory", "s3", "moto"])
def store(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(f"{request.param}_store")


def numbers(store: Store, model: str = "fraud") -> list[int]:
    return [version.number for version in Registry(store).versions(model)]


def test_versions_are_numbered_from_one_and_listed_newest_first(store: Store, source: Sources) -> None:
    registry = Registry(store, clock=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    for number in range(1, 12):
        version, created = registry.register("fraud", source(f"j{number}"), actor="ann")
        assert created
        assert version.ref == VersionRef(model="fraud", number=number)
        assert version.source == source(f"j{number}")
        assert (version.created_by, version.created_at.year) == ("ann", 2026)
    assert numbers(store) == list(range(11, 0, -1))
    assert registry.version(VersionRef(model="fraud", number=10)).source == source("j10")


def test_the_same_job_twice_is_one_version(store: Store, source: Sources) -> None:
    first = Registry(store).register("fraud", source("j1"), actor="ann")
    Registry(store).register("fraud", source("j2"), actor="ann")
    again = Registry(store).register("fraud", source("j1"), actor="bob")
    assert again == (first.version, False)
    assert numbers(store) == [2, 1]


def test_models_are_apart_and_in_order_of_name(store: Store, source: Sources) -> None:
    registry = Registry(store)
    names = ["fraud-v2", "fraud", "a", "fraud2", "fraud-v2-b", "z"]
    for name in names:
        assert registry.register(name, source("j1"), actor="ann").version.number == 1
    assert [model.name for model in registry.models()] == sorted(names)
    assert numbers(store) == [1]
    assert next(registry.models()).created_by == "ann"


def test_the_state_of_a_version_is_which_facts_there_are(store: Store, source: Sources) -> None:
    registry = Registry(store)
    registry.register("fraud", source("j1"), actor="ann")
    seen = [registry.facts(ONE).state]
    for fact in FACTS:
        assert registry.record(ONE, fact) == fact
        assert registry.fact(ONE, type(fact)) == fact
        seen.append(registry.facts(ONE).state)
    assert seen == ["registered", "scanned", "packaged", "built"]
    assert [*registry.facts(ONE)] == [("scan", SCAN), ("artifact", ARTIFACT), ("image", IMAGE)]
    assert registry.register("fraud", source("j2"), actor="ann").version.number == 2
    assert numbers(store) == [2, 1]


@pytest.mark.parametrize(
    ("fact", "other"),
    [
        (SCAN, SCAN.model_copy(update={"size": 13})),
        (ARTIFACT, ARTIFACT.model_copy(update={"blob": C})),
        (IMAGE, IMAGE.model_copy(update={"runtime": "other"})),
    ],
    ids=["scan", "artifact", "image"],
)
def test_a_fact_is_written_once(store: Store, source: Sources, fact: Any, other: Any) -> None:
    registry = Registry(store)
    registry.register("fraud", source("j1"), actor="ann")
    registry.record(ONE, fact)
    assert Registry(store).record(ONE, fact) == fact
    with pytest.raises(Conflict, match=rf"^fraud@1 has another {fact.kind} already, .*register a new version\.$"):
        registry.record(ONE, other)
    assert registry.fact(ONE, type(fact)) == fact


def test_a_fact_that_means_the_same_in_other_bytes_is_the_same(source: Sources) -> None:
    store = MemoryStore()
    registry = Registry(store)
    registry.register("fraud", source("j1"), actor="ann")
    store.create(keys.fact(ONE, "scan"), SCAN.model_dump_json().encode())
    assert registry.record(ONE, SCAN) == SCAN


def test_what_is_not_there_is_said_in_a_sentence(store: Store, source: Sources) -> None:
    registry = Registry(store)
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
def test_a_bad_name_writes_nothing(name: str, source: Sources) -> None:
    store = MemoryStore()
    with pytest.raises(InvalidInput):
        Registry(store).register(name, source("j1"), actor="ann")
    with pytest.raises(InvalidInput):
        list(Registry(store).versions(name))
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"not json", b"\xff\xfe", b"[]", b"null", b'{"model": "../x", "number": 0}', b"[" * 100_000],
    ids=["empty", "no fields", "text", "bytes", "list", "null", "wrong", "deep"],
)
def test_a_corrupt_record_is_refused(source: Sources, data: bytes) -> None:
    store = MemoryStore()
    registry = Registry(store)
    registry.register("fraud", source("j1"), actor="ann")
    for key in (keys.version(ONE), keys.model("fraud"), keys.source("fraud", source("j1").identity)):
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


def test_a_record_of_a_newer_sluice_is_refused(source: Sources) -> None:
    store = MemoryStore()
    version = Registry(store).register("fraud", source("j1"), actor="ann").version
    stored = store.get(keys.version(ONE))
    assert stored
    newer = stored.data.replace(b'"model": "fraud"', b'"model": "fraud", "signature": "x"', 1)
    store.replace(keys.version(ONE), newer, stored.etag)
    with pytest.raises(Refused, match="upgrade Sluice"):
        Registry(store).version(version.ref)


@pytest.mark.parametrize("key", ["models/fraud/versions/0000000000-1/version.json", "models/fraud/versions/.DS_Store"])
def test_foreign_objects_are_named_and_stop_a_registration(source: Sources, key: str) -> None:
    store = MemoryStore()
    registry = Registry(store)
    registry.register("fraud", source("j1"), actor="ann")
    store.create(key, b"")
    with pytest.raises(Refused, match="was not written by Sluice: remove it"):
        registry.register("fraud", source("j2"), actor="ann")


def test_a_foreign_folder_is_no_model(source: Sources) -> None:
    store = MemoryStore()
    Registry(store).register("fraud", source("j1"), actor="ann")
    for key in ("models/Not A Model/notes.txt", "models//x", "models/readme.txt", "models/empty/x"):
        store.create(key, b"")
    assert [model.name for model in Registry(store).models()] == ["fraud"]


def test_a_registration_costs_what_it_says(proxy: Any, proxied: Clients, s3_store: S3Store, source: Sources) -> None:
    registry = Registry(S3Store(proxied, s3_store.bucket))

    def cost(work: Callable[[], object]) -> list[str]:
        before = len(proxy.requests)
        work()
        return [request.method for request in proxy.requests[before:]]

    probe = ["PUT", "PUT", "GET", "PUT", "GET"]
    first = cost(lambda: registry.register("fraud", source("j1"), actor="ann"))
    assert first == [*probe, "GET", "PUT", "PUT", "PUT"]
    assert cost(lambda: registry.register("fraud", source("j2"), actor="ann")) == ["GET", "PUT", "PUT"]
    assert cost(lambda: registry.register("fraud", source("j2"), actor="ann")) == ["GET", "PUT", "GET", "PUT", "GET"]
    assert cost(lambda: registry.version(ONE)) == ["GET"]
    used = Registry(S3Store(proxied, s3_store.bucket))
    third = cost(lambda: used.register("fraud", source("j3"), actor="ann"))
    assert third == ["PUT", "GET", "PUT", "GET", "GET", "PUT", "PUT"]


REQUESTS = 9  # of a first registration over a Store, which counts a conflict as one


def test_how_many_instants_there_are_to_be_killed_at(interrupted: Any, source: Sources) -> None:
    store = interrupted(MemoryStore(), lambda: None)
    Registry(store).register("fraud", source("j1"), actor="ann")
    assert len(store.verbs) < REQUESTS


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("n", range(1, REQUESTS))
def test_killed_at_any_request_and_run_again_it_is_one_version(
    interrupted: Any, killed: type[BaseException], source: Sources, n: int, after: bool
) -> None:
    inner = MemoryStore()
    Registry(inner).register("other", source("j1"), actor="ann")

    def die() -> None:
        raise killed

    for job in ("j1", "j2"):
        with suppress(killed):
            Registry(interrupted(inner, die, n, after=after)).register("fraud", source(job), actor="ann")
    for job in ("j2", "j1", "j3", "j1"):
        Registry(inner).register("fraud", source(job), actor="ann")
    versions = list(Registry(inner).versions("fraud"))
    assert [version.number for version in versions] == [3, 2, 1]
    assert {version.source.training.job for version in versions} == {"j1", "j2", "j3"}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("intruder", ["j1", "j2"], ids=["same job", "other job"])
@pytest.mark.parametrize("n", range(1, REQUESTS))
def test_whatever_another_writer_does_between_two_requests(
    interrupted: Any, source: Sources, n: int, intruder: str, after: bool
) -> None:
    inner = MemoryStore()

    def intrude() -> None:
        for job in (intruder, "j3"):
            Registry(inner).register("fraud", source(job), actor="bob")

    registry = Registry(interrupted(inner, intrude, n, after=after))
    found = registry.register("fraud", source("j1"), actor="ann")
    intrude()
    versions = list(Registry(inner).versions("fraud"))
    jobs = [version.source.training.job for version in versions]
    assert sorted(jobs) == sorted({"j1", intruder, "j3"})
    assert [version.number for version in versions] == list(range(len(jobs), 0, -1))
    assert found.version in versions
    assert found.version.source == source("j1")
    assert found.created == (found.version.created_by == "ann")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("n", range(1, 5))
def test_killed_while_a_fact_is_recorded(
    interrupted: Any, killed: type[BaseException], source: Sources, n: int, after: bool
) -> None:
    inner = MemoryStore()
    Registry(inner).register("fraud", source("j1"), actor="ann")

    def die() -> None:
        raise killed

    with suppress(killed):
        Registry(interrupted(inner, die, n, after=after)).record(ONE, SCAN)
    assert Registry(inner).fact(ONE, Scan) in (None, SCAN)
    assert Registry(inner).record(ONE, SCAN) == SCAN


@pytest.mark.parametrize("fault", ["lost request", "lost answer"])
def test_lost_messages_are_never_two_versions(
    proxy: Any, proxied: Clients, s3_store: S3Store, source: Sources, fault: str
) -> None:
    """Every request of a registration is lost once, each on its own."""
    registry = Registry(S3Store(proxied, s3_store.bucket))
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
    assert numbers(s3_store) == [1]
    assert registry.facts(ONE).state == "scanned"


def test_a_store_that_is_away_is_unavailable_and_nothing_is_half_done(
    proxy: Any, proxied: Clients, s3_store: S3Store, source: Sources
) -> None:
    proxy.fault = lambda _: "lost request"
    with pytest.raises(Unavailable):
        Registry(S3Store(proxied, s3_store.bucket)).register("fraud", source("j1"), actor="ann")
    assert list(s3_store.list("")) == []


METRICS = st.dictionaries(st.text(max_size=5), st.floats(), max_size=4)


@given(METRICS, st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_a_version_reads_as_it_was_written(metrics: dict[str, float], parameters: dict[str, str]) -> None:
    training = Training(job="j", arn="arn:j", image="i", metrics=metrics, hyperparameters=parameters)
    source = Source(uri="s3://abc/k", etag='"e"', size=1, training=training)
    store = MemoryStore()
    Registry(store).register("fraud", source, actor="ann")
    read = Registry(store).version(ONE).source.training
    assert read.hyperparameters == parameters
    assert read.metrics.keys() == metrics.keys()
    for name, value in metrics.items():
        assert read.metrics[name] == value or (math.isnan(value) and math.isnan(read.metrics[name]))


def test_equal_records_are_equal_bytes(source: Sources) -> None:
    version = Registry(MemoryStore()).register("fraud", source("j1", metrics={"a": 1.5}), actor="ann").version
    assert Version.model_validate_json(version.to_bytes()).to_bytes() == version.to_bytes()
    assert version.to_bytes().endswith(b"}\n")


def test_a_record_that_is_another_versions_is_refused(memory_store: MemoryStore, source: Sources) -> None:
    registry = Registry(memory_store)
    for name in ("fraud", "other"):
        registry.register(name, source("j"), actor="a")
    stored = memory_store.get("models/other/versions/9999999998-1/version.json")
    mine = memory_store.get("models/fraud/versions/9999999998-1/version.json")
    assert stored is not None
    assert mine is not None
    memory_store.replace("models/fraud/versions/9999999998-1/version.json", stored.data, mine.etag)
    with pytest.raises(Refused, match="is the record of other@1"):
        registry.version(VersionRef(model="fraud", number=1))
