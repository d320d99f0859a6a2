from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from registry import keys, log
from registry.changes import EventKind
from registry.errors import InvalidInput, NotFound, SluiceError, Unavailable
from registry.facts import ENTRY_MAX, Entry, Source, SourceKind, Training
from registry.limits import RECORD_MAX
from registry.memory import MemoryBytes, MemoryStore
from registry.names import VersionRef
from registry.registry import Registered, Registry
from registry.store import Store

Sources = Callable[..., Source]
Makes = Callable[..., Registry]
LOG = keys.log("fraud")


def ref(number: int) -> VersionRef:
    return VersionRef(model="fraud", number=number)


def entries(store: Store) -> list[Entry]:
    """The log, oldest first."""
    found = [store.get(key) for key in store.list(LOG)]
    return [Entry.model_validate_json(stored.data) for stored in found[::-1] if stored]


def sizes(store: Store) -> list[int]:
    return [len(entry.versions) for entry in entries(store)]


def writes(store: Any) -> int:
    return sum(verb == "create" and key.startswith(LOG) for verb, key in store.requests)


class Together:
    """Registers sources from as many threads of one registry: the first is held back until all others wait for it."""

    def __init__(self, registry: Registry, store: Any, held: Callable[[], None] = lambda: None) -> None:
        self.registry, self.store, self.held = registry, store, held
        self.expected = 0
        self.begun = threading.Event()
        self.first = True

    def before(self, verb: str, key: str) -> None:
        if verb == "create" and key.startswith(LOG) and self.first:
            self.first = False
            self.begun.set()
            deadline = time.monotonic() + 60
            while len(self.registry._registrar._ledger("fraud").waiting) < self.expected:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            self.held()

    def register(self, sources: Sequence[Source], **said: Any) -> list[Future[Registered]]:
        self.expected = len(sources) - 1
        self.store.before = self.before

        def work(source: Source) -> Registered:
            return self.registry.register("fraud", source, actor="ann", **said)

        with ThreadPoolExecutor(len(sources)) as pool:
            first = pool.submit(work, sources[0])
            assert self.begun.wait(60)
            others = [pool.submit(work, source) for source in sources[1:]]
        self.store.before = lambda verb, key: None
        return [first, *others]


@pytest.fixture
def store(watched: Any) -> Any:
    return watched(MemoryStore())


@pytest.fixture
def registry(on: Makes, store: Any) -> Registry:
    return on(store)


def test_who_waits_while_an_entry_is_written_shares_the_next_one(
    registry: Registry, store: Any, on: Makes, source: Sources
) -> None:
    registry.register("fraud", source("warm"), actor="ann")
    jobs = [f"j{n}" for n in range(40)]
    done = [one.result() for one in Together(registry, store).register([source(job) for job in jobs])]
    assert sizes(store) == [1, 1, 39]
    assert all(one.created for one in done)
    assert [one.version.source.name for one in done] == jobs
    assert sorted(one.version.number for one in done) == list(range(2, 42))
    assert writes(store) == 3
    for one in done:
        assert on(store).version(one.version.ref) == one.version
    assert [row.number for row in on(store).versions("fraud")] == list(range(41, 0, -1))


def test_an_entry_holds_so_many_and_no_more(registry: Registry, store: Any, source: Sources) -> None:
    done = Together(registry, store).register([source(f"j{n}") for n in range(ENTRY_MAX + 17)])
    assert sizes(store) == [1, ENTRY_MAX, 16]
    assert sorted(one.result().version.number for one in done) == list(range(1, ENTRY_MAX + 18))


def test_long_versions_share_an_entry_as_far_as_it_may_be_long(registry: Registry, store: Any, source: Sources) -> None:
    metrics = {f"{n:03}" + "m" * 250: 0.5 for n in range(400)}  # some 100 KB each
    done = Together(registry, store).register([source(f"j{n}") for n in range(30)], metrics=metrics)
    assert sorted(one.result().version.number for one in done) == list(range(1, 31))
    assert len(sizes(store)) > 2
    assert max(sizes(store)) > 1
    for key in store.list(LOG):
        stored = store.get(key)
        assert stored
        assert len(stored.data) <= RECORD_MAX


def test_a_version_that_is_too_long_is_refused_alone_and_before_anything_is_written(
    registry: Registry, store: Any, source: Sources
) -> None:
    parameters = {f"p{n}": "x" * 6_000 for n in range(200)}
    training = Training(job="long", arn="arn:long", image="i", hyperparameters=parameters)
    with pytest.raises(InvalidInput, match=rf"would take \d+ bytes, and {RECORD_MAX} are the most: say less"):
        registry.register("fraud", Source(uri="s3://abc/k", size=12, training=training), actor="ann")
    assert list(store.inner.list("")) == []


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"tags": {f"t{n}": "" for n in range(51)}}, "tags"),
        ({"tags": {"two\nlines": ""}}, "tags"),
        ({"metrics": {f"m{n}": 0.0 for n in range(501)}}, "metrics"),
        ({"git_commit": "a\nb"}, "git_commit"),
        ({"description": "x" * 5_001}, "description"),
        ({"actor": ""}, "created_by"),
        ({"actor": "a\x1b[31m"}, "created_by"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(
    registry: Registry, store: Any, source: Sources, said: Any, where: str
) -> None:
    with pytest.raises(InvalidInput, match=f"^The {where}.* does not fit .*: correct it"):
        registry.register("fraud", source("j1"), **{"actor": "ann", **said})
    assert list(store.inner.list("")) == []


def test_one_source_twice_in_a_batch_is_one_version(registry: Registry, store: Any, source: Sources) -> None:
    jobs = ["first", "a", "b", "a", "c", "a"]
    done = [one.result() for one in Together(registry, store).register([source(job) for job in jobs])]
    assert sizes(store) == [1, 3]
    numbers = {job: {one.version.number for one in done if one.version.source.name == job} for job in jobs}
    assert sorted(numbers.values(), key=min) == [{1}, {2}, {3}, {4}]
    assert sum(one.created for one in done) == 4


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_batch_that_fails_tells_all_who_wait_and_can_be_tried_again(
    registry: Registry, store: Any, on: Makes, source: Sources, after: bool
) -> None:
    """Whether the entry was written in the end or not."""
    jobs = [source(f"j{n}") for n in range(12)]
    together = Together(registry, store)

    def fail(verb: str, key: str) -> None:
        if verb == "create" and key == keys.entry(ref(2)):
            raise Unavailable("The store is away: try again.")

    def before(verb: str, key: str) -> None:
        Together.before(together, verb, key)
        if not after:
            fail(verb, key)

    together.before = before  # type: ignore[method-assign]
    store.after = fail if after else store.after
    first, *others = together.register(jobs)
    assert first.result().version.number == 1
    assert [type(one.exception()) for one in others] == [Unavailable] * 11
    store.after = lambda verb, key: None
    again = [registry.register("fraud", one, actor="bob") for one in jobs]
    assert sorted(one.version.number for one in again) == list(range(1, 13))
    assert [one.created for one in again] == [False, *[not after] * 11]
    assert [row.number for row in on(store).versions("fraud")] == list(range(12, 0, -1))


def test_who_writes_for_others_and_dies_leaves_them_an_error(
    registry: Registry, store: Any, source: Sources, killed: type[BaseException]
) -> None:
    jobs = [source(f"j{n}") for n in range(5)]
    together = Together(registry, store)

    def before(verb: str, key: str) -> None:
        Together.before(together, verb, key)
        if verb == "create" and key == keys.entry(ref(2)):
            raise killed

    together.before = before  # type: ignore[method-assign]
    errors = [one.exception() for one in together.register(jobs)]
    assert sorted(type(error).__name__ for error in errors) == ["Killed", *["NoneType"], *["Unavailable"] * 3]
    for one in jobs:
        registry.register("fraud", one, actor="ann")
    assert [row.number for row in registry.versions("fraud")] == [5, 4, 3, 2, 1]


def test_a_draft_that_was_found_stays_found_when_its_batch_loses_a_race(
    registry: Registry, store: Any, on: Makes, source: Sources
) -> None:
    """Once, such a draft was written a second time."""
    other = on(store.inner)
    shared = source("shared")
    together = Together(registry, store, held=lambda: other.register("fraud", shared, actor="bob"))
    raced: list[str] = []

    def before(verb: str, key: str) -> None:
        Together.before(together, verb, key)
        if verb == "create" and key == keys.entry(ref(3)) and not raced:
            raced.append(key)
            other.register("fraud", source("winner"), actor="bob")

    together.before = before  # type: ignore[method-assign]
    done = [one.result() for one in together.register([source("first"), shared, source("mine")])]
    assert raced
    assert [(one.version.source.name, one.version.number, one.created) for one in done] == [
        ("first", 2, True),
        ("shared", 1, False),
        ("mine", 4, True),
    ]
    assert [row.name for row in on(store).versions("fraud")] == ["mine", "winner", "first", "shared"]


def test_processes_that_take_turns_number_densely_and_never_twice(on: Makes, watched: Any, source: Sources) -> None:
    """Six registries of three threads, let loose on each other; the store lets go of the processor at every request."""
    inner = MemoryStore()
    jobs = [f"shared-{n}" for n in range(4)]

    def writer(n: int) -> list[Registered]:
        store = watched(inner)
        store.before = store.after = lambda verb, key: time.sleep(0)
        registry = on(store)
        mine = [*jobs, *(f"own-{n}-{k}" for k in range(4))]
        mine = mine[n:] + mine[:n]
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda job: registry.register("fraud", source(job), actor=f"w{n}"), mine))

    for _ in range(5):
        with ThreadPoolExecutor(6) as pool:
            told = [one for all_of_one in pool.map(writer, range(6)) for one in all_of_one]
        names = [row.name for row in on(inner).versions("fraud")]
        assert len(names) == len(set(names)) == len({one.version.number for one in told}) == 28
        assert sum(one.created for one in told) == 28
        inner = MemoryStore()


def test_a_deleted_version_makes_room_for_the_same_source(
    registry: Registry, on: Makes, store: Any, source: Sources
) -> None:
    registry.register("fraud", source("j1"), actor="ann")
    registry.register("fraud", source("j2"), actor="ann")
    registry.delete(ref(1), actor="ann")
    made = registry.register("fraud", source("j1"), actor="bob")
    assert (made.version.number, made.created) == (3, True)
    for again in (registry, on(store)):
        assert again.register("fraud", source("j1"), actor="bob") == (made.version, False)
    registry.delete(ref(3), actor="ann")
    assert on(store).register("fraud", source("j1"), actor="bob").version.number == 4
    assert [row.number for row in registry.versions("fraud")] == [4, 2]


def test_registered_gives_the_version_that_lives_or_the_last_that_did(registry: Registry, source: Sources) -> None:
    assert registry.registered("fraud", source("j1")) is None
    for job in ("j0", "j1", "j2"):
        registry.register("fraud", source(job), actor="ann")
    assert registry.registered("fraud", source("j1")) == registry.version(ref(2))
    registry.delete(ref(2), actor="ann")
    assert registry.registered("fraud", source("j1")) == registry.version(ref(2))
    again = registry.register("fraud", source("j1"), actor="ann").version
    assert registry.registered("fraud", source("j1")) == again
    registry.delete(again.ref, actor="ann")
    assert registry.registered("fraud", source("j1")) == again
    assert registry.registered("fraud", source("j9")) is None


def test_a_claim_without_a_version_is_no_version(
    on: Makes, interrupted: Any, killed: type[BaseException], source: Sources
) -> None:
    inner = MemoryStore()
    registry = on(inner)
    registry.register("fraud", source("j1"), actor="ann")

    def die() -> None:
        raise killed

    store = interrupted(inner, die, 6, after=True)  # list, newest entry, probe of two, claim: the event is the sixth
    with suppress(killed):
        on(store).register("fraud", source("j2"), actor="ann")
    assert store.verbs[-1] == "create"
    assert registry.registered("fraud", source("j2")) is None
    assert len([e for e in registry.events().events if e.event.kind is EventKind.REGISTERED]) == 1


AN_OBJECT = Source(kind=SourceKind.S3, uri="s3://abc/k", etag='"1"', size=1)
A_PACKAGE = Source(kind=SourceKind.MODEL_PACKAGE, uri="s3://abc/k", package="arn:1", size=1)
NOTHING = Source(kind=SourceKind.NONE, uri="mlflow:1", size=0)
KINDS = [
    (AN_OBJECT, AN_OBJECT.model_copy(update={"etag": '"2"'})),
    (A_PACKAGE, A_PACKAGE.model_copy(update={"package": "arn:2"})),
    (NOTHING, NOTHING.model_copy(update={"uri": "mlflow:2"})),
]


@pytest.mark.parametrize(("one", "other"), KINDS, ids=["s3", "package", "none"])
def test_what_makes_two_registrations_the_same_one(registry: Registry, one: Source, other: Source) -> None:
    assert registry.register("fraud", one, actor="ann").version.number == 1
    assert registry.register("fraud", other, actor="ann").version.number == 2
    assert registry.register("fraud", one, actor="ann") == (registry.version(ref(1)), False)


def test_an_upload_that_is_not_there_or_is_another_takes_no_number(registry: Registry, place: MemoryBytes) -> None:
    digest = "sha256:" + "a" * 64
    upload = Source(kind=SourceKind.UPLOAD, uri=digest, digest=digest, size=4)
    with pytest.raises(NotFound, match="upload it again"):
        registry.register("fraud", upload, actor="ann")
    place.put(keys.blob(digest), b"four")
    with pytest.raises(InvalidInput, match="correct the size"):
        registry.register("fraud", upload.model_copy(update={"size": 5}), actor="ann")
    assert registry.register("fraud", upload, actor="ann").version.output == keys.blob(digest)
    assert [row.number for row in registry.versions("fraud")] == [1]


def test_each_version_has_a_copy_of_its_own(registry: Registry, place: MemoryBytes, source: Sources) -> None:
    first = registry.register("fraud", source("j1"), actor="ann").version
    other = registry.register("other", source("j1"), actor="ann").version
    assert first.output != other.output
    assert {first.output, other.output} == {found.key for found in place.objects("outputs/")}


def test_a_model_of_long_ago_goes_on_from_its_last_number(
    registry: Registry, store: Any, bulk: Callable[..., None], source: Sources
) -> None:
    bulk(store.inner, 300)
    assert registry.register("fraud", source("new"), actor="ann").version.number == 301
    assert registry.register("fraud", source("old-70"), actor="ann") == (registry.version(ref(70)), False)
    assert registry.register("fraud", source("old-300"), actor="ann").version.number == 300


def test_a_process_that_fell_behind_reads_what_it_missed_once(on: Makes, store: Any, source: Sources) -> None:
    behind, ahead = on(store), on(store.inner)
    behind.register("fraud", source("j0"), actor="ann")
    for n in range(1, 11):
        ahead.register("fraud", source(f"j{n}"), actor="bob")
    store.requests.clear()
    assert behind.register("fraud", source("mine"), actor="ann").version.number == 12
    read = [key for verb, key in store.requests if verb == "get" and key.startswith(LOG)]
    assert len(read) <= 11
    store.requests.clear()
    assert behind.register("fraud", source("more"), actor="ann").version.number == 13
    assert [verb for verb, _ in store.requests] == ["create"] * 3


def test_an_entrys_event_tells_of_all_its_versions_each_by_who_registered_it(
    registry: Registry, store: Any, source: Sources
) -> None:
    Together(registry, store).register([source(f"j{n}") for n in range(6)])
    told = [one for one in registry.events().events if one.event.kind is EventKind.REGISTERED]
    assert [one.event.number for one in told] == [1, 2, 3, 4, 5, 6]
    assert len({one.id for one in told}) == 6
    assert all(one.event.last is None for one in told)
    assert len(list(store.inner.list("events/"))) == 2


def test_errors_are_the_callers_own_kind(registry: Registry, store: Any, source: Sources) -> None:
    """What the store says comes out as it is, and the next one goes on."""

    def broken(verb: str, key: str) -> None:
        if verb == "create" and key.startswith(LOG):
            raise RuntimeError("a bug")

    store.before = broken
    with pytest.raises(RuntimeError):
        registry.register("fraud", source("j1"), actor="ann")
    store.before = lambda verb, key: None
    assert registry.register("fraud", source("j1"), actor="ann").version.number == 1
    with pytest.raises(SluiceError):
        log.version(registry.records, ref(2))
