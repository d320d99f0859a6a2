"""Garbage collection: what is named stays, whatever is going on at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from registry import collect, keys
from registry.changes import Approval
from registry.collect import Sweep, secure
from registry.errors import Conflict, InvalidInput, NotFound, SluiceError, Unavailable
from registry.facts import Artifact, Source, SourceKind
from registry.memory import MemoryBytes, MemoryStore
from registry.names import VersionRef
from registry.progress import Silent
from registry.records import Records
from registry.registry import Registry
from registry.store import Store

Sources = Callable[..., Source]
Makes = Callable[..., Registry]
HOUR = timedelta(hours=1)


def ref(number: int, model: str = "fraud") -> VersionRef:
    return VersionRef(model=model, number=number)


def there(place: MemoryBytes) -> set[str]:
    return {found.key for prefix in ("outputs/", "blobs/", "uploads/") for found in place.objects(prefix)}


def blob(registry: Registry, data: bytes) -> str:
    return registry.storage.blobs.put([data], what="blob", progress=Silent()).digest


def upload(digest: str, data: bytes) -> Source:
    return Source(kind=SourceKind.UPLOAD, uri=digest, digest=digest, size=len(data))


def artifact(digest: str, data: bytes) -> Artifact:
    return Artifact(type="mar", source=digest, blob=digest, size=len(data), files=())


@pytest.fixture
def store() -> Store:
    return MemoryStore()


@pytest.fixture
def registry(on: Makes, store: Store) -> Registry:
    return on(store)


def test_what_is_named_stays_and_the_rest_goes(
    registry: Registry, place: MemoryBytes, source: Sources, clock: Any
) -> None:
    copies = [registry.register(name, source(f"j{n}"), actor="ann").version.output for name in "ab" for n in range(3)]
    packaged, uploaded, loose = (blob(registry, data) for data in (b"packaged", b"uploaded", b"loose"))
    registry.record(ref(2, "a"), artifact(packaged, b"packaged"))
    registry.register("c", upload(uploaded, b"uploaded"), actor="ann")
    place.put("uploads/broken-off", b"x" * 10)
    place.put("outputs/abandoned", b"y" * 20)
    place.put("other/file", b"z")
    clock.advance(hours=25)
    young = blob(registry, b"young")
    wanted = {*copies, keys.blob(packaged), keys.blob(uploaded)}
    garbage = {keys.blob(loose), "uploads/broken-off", "outputs/abandoned"}

    told = registry.collect(actor="gc", dry_run=True)
    assert there(place) == wanted | garbage | {keys.blob(young)}
    done = registry.collect(actor="gc")
    assert there(place) == wanted | {keys.blob(young)}
    assert told == done.model_copy(update={"dry_run": True})
    assert (done.named, done.young, done.removed) == (len(wanted), 1, 3)
    assert (done.named_size, done.removed_size) == (6 * 12 + 8 + 8, 5 + 10 + 20)
    assert set(done.keys) == garbage
    assert place.get("other/file") == b"z"
    again = registry.collect(actor="gc")
    assert (again.removed, again.keys) == (0, ())


def test_a_deleted_versions_bytes_go_unless_another_names_them(
    registry: Registry, place: MemoryBytes, source: Sources, clock: Any
) -> None:
    shared, own = blob(registry, b"shared"), blob(registry, b"own")
    outputs = [registry.register("fraud", source(f"j{n}"), actor="ann").version.output for n in range(3)]
    for number, digest, data in ((1, shared, b"shared"), (2, shared, b"shared"), (3, own, b"own")):
        registry.record(ref(number), artifact(digest, data))
    registry.delete(ref(1), actor="ann")
    registry.delete(ref(3), actor="ann")
    clock.advance(hours=25)
    registry.collect(actor="gc")
    assert there(place) == {outputs[1], keys.blob(shared)}
    registry.delete_model("fraud", actor="ann")
    registry.collect(actor="gc")
    assert there(place) == set()


def test_a_decision_or_a_foreign_file_beside_a_version_deletes_nothing(
    registry: Registry, store: Store, place: MemoryBytes, source: Sources, clock: Any
) -> None:
    output = registry.register("fraud", source("j"), actor="ann").version.output
    registry.decide(ref(1), Approval.REJECTED, actor="ann")
    store.create(keys.version_folder(ref(1)) + "notes/deleted.txt", b"")
    clock.advance(days=99)
    registry.collect(actor="gc")
    assert there(place) == {output}


def test_a_version_in_the_middle_of_an_entry_counts(
    registry: Registry, store: Store, place: MemoryBytes, bulk: Callable[..., None], clock: Any
) -> None:
    bulk(store, 70)
    digest = blob(registry, b"packaged")
    registry.record(ref(33), artifact(digest, b"packaged"))
    clock.advance(days=2)
    assert registry.collect(actor="gc").named == 1
    assert there(place) == {keys.blob(digest)}


def test_the_grace_period_is_kept(registry: Registry, place: MemoryBytes, clock: Any) -> None:
    place.put("outputs/x", b"x")
    clock.advance(hours=2)
    assert registry.collect(actor="gc", grace=HOUR * 3).young == 1
    assert registry.collect(actor="gc").young == 1
    for grace in (timedelta(), timedelta(minutes=59), -HOUR):
        for dry_run in (False, True):
            with pytest.raises(InvalidInput, match="give one hour or more"):
                registry.collect(actor="gc", grace=grace, dry_run=dry_run)
    assert registry.collect(actor="gc", grace=HOUR).removed == 1


def test_only_one_collects_at_a_time(
    registry: Registry, on: Makes, store: Store, place: MemoryBytes, watched: Any, clock: Any
) -> None:
    place.put("outputs/x", b"x")
    clock.advance(days=2)
    seen = watched(store)
    met: list[str] = []

    def meet(verb: str, key: str) -> None:
        if (verb, key) == ("folders", "models/") and not met:
            with pytest.raises(Conflict, match=r"^first collects garbage until \d\d:\d\d:\d\d UTC: wait") as caught:
                registry.collect(actor="second")
            met.append(str(caught.value))
            assert registry.collect(actor="second", dry_run=True).removed == 1

    seen.before = meet
    assert on(seen).collect(actor="first").removed == 1
    assert met
    assert registry.collect(actor="second").removed == 0


def test_who_was_killed_while_collecting_holds_nobody_up_for_long(
    registry: Registry, store: Store, place: MemoryBytes, clock: Any
) -> None:
    place.put("outputs/x", b"x")
    clock.advance(days=2)
    left = Sweep(token="killed", until=clock() + timedelta(minutes=10), by="dead")
    store.create(keys.SWEEP, left.to_bytes())
    with pytest.raises(Conflict, match="dead collects garbage until"):
        registry.collect(actor="gc")
    clock.advance(minutes=11)
    assert registry.collect(actor="gc").removed == 1


def test_who_is_too_slow_removes_nothing(on: Makes, store: Store, place: MemoryBytes, clock: Any) -> None:
    """Between asking how old the bytes are and removing them more time passed than the lease has."""
    place.put("outputs/x", b"x")
    clock.advance(days=2)
    asked = place.modified

    def slow(key: str) -> Any:
        found = asked(key)
        clock.advance(minutes=9)
        return found

    place.modified = slow  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="too slow to be safe"):
        on(store).collect(actor="gc")
    assert there(place) == {"outputs/x"}


def test_many_more_than_are_removed_at_once(registry: Registry, place: MemoryBytes, clock: Any) -> None:
    for n in range(1_050):
        place.put(f"uploads/{n:04}", b"x")
    clock.advance(days=2)
    done = registry.collect(actor="gc")
    assert (done.removed, done.removed_size, len(done.keys)) == (1_050, 1_050, 1_000)
    assert there(place) == set()


def test_an_object_that_was_made_young_meanwhile_stays(
    on: Makes, store: Store, place: MemoryBytes, watched: Any, clock: Any
) -> None:
    place.put("outputs/x", b"x")
    clock.advance(days=2)
    seen = watched(store)

    def touch(verb: str, key: str) -> None:
        if (verb, key) == ("folders", "models/"):  # it was listed, as old, before
            place.touch("outputs/x")

    seen.before = touch
    done = on(seen).collect(actor="gc")
    assert (done.removed, done.young) == (0, 1)
    assert there(place) == {"outputs/x"}


def test_young_bytes_need_no_care_and_old_ones_are_made_young(
    registry: Registry, watched: Any, store: Store, place: MemoryBytes, clock: Any
) -> None:
    seen = watched(store)
    records = Records(seen, clock=clock)
    place.put("outputs/x", b"x")
    secure(records, place, "outputs/x")
    assert seen.requests == []
    clock.advance(hours=1)
    secure(records, place, "outputs/x")
    modified = place.modified("outputs/x")
    assert modified is not None
    assert clock() - modified < timedelta(minutes=1)
    with pytest.raises(NotFound, match=r"^outputs/y is gone from the bucket: store it again\.$"):
        secure(records, place, "outputs/y")


def test_who_names_old_bytes_waits_for_a_sweep_that_has_begun(store: Store, place: MemoryBytes, clock: Any) -> None:
    records = Records(store, clock=clock)
    place.put("outputs/x", b"x")
    place.put("outputs/y", b"y")
    clock.advance(days=2)
    store.create(keys.SWEEP, Sweep(token="t", until=clock() + timedelta(seconds=5), by="gc").to_bytes())
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds=seconds)

    secure(records, place, "outputs/x", sleep=sleep)
    assert 4 <= sum(waits) <= 6
    stored = store.get(keys.SWEEP)
    assert stored
    store.replace(keys.SWEEP, Sweep(token="u", until=clock() + timedelta(seconds=5), by="gc").to_bytes(), stored.etag)

    def swept(seconds: float) -> None:
        clock.advance(seconds=seconds)
        place.delete(["outputs/y"])

    with pytest.raises(Unavailable, match="outputs/y was collected as garbage this moment: try again"):
        secure(records, place, "outputs/y", sleep=swept)


class Steps:
    """Counts the requests for records and for bytes, and lets something happen before or after the n-th."""

    def __init__(self, place: MemoryBytes, act: Callable[[], None], n: int, after: bool) -> None:
        self.act, self.n, self.after, self.count, self.inside = act, n, after, 0, False
        for verb in ("objects", "delete", "modified", "touch"):
            self.wrap(place, verb)

    def wrap(self, place: MemoryBytes, verb: str) -> None:
        inner = getattr(place, verb)

        def step(*given: Any) -> Any:
            due = self.due()
            if due and not self.after:
                self.go()
            result = inner(*given)
            result = iter(list(result)) if verb == "objects" else result
            if due and self.after:
                self.go()
            return result

        setattr(place, verb, step)

    def due(self) -> bool:
        if not self.inside:
            self.count += 1
        return not self.inside and self.count == self.n

    def go(self) -> None:
        self.inside = True
        try:
            self.act()
        finally:
            self.inside = False

    def over(self, watched: Any, store: Store) -> Any:
        seen = watched(store)
        due = [False]

        def before(verb: str, key: str) -> None:
            due[0] = self.due()
            if due[0] and not self.after:
                self.go()

        def after(verb: str, key: str) -> None:
            if due[0] and self.after:
                due[0] = False
                self.go()

        seen.before, seen.after = before, after
        return seen


DEEDS = ["upload", "artifact"]


def prepared(registry: Registry, source: Sources, clock: Any) -> str:
    """The digest of an old blob that nobody names, beside two versions."""
    registry.register("fraud", source("j1"), actor="ann")
    registry.register("fraud", source("j2"), actor="ann")
    digest = blob(registry, b"old")
    clock.advance(days=2)
    return digest


def name(registry: Registry, deed: str, digest: str) -> None:
    if deed == "upload":
        registry.register("fraud", upload(digest, b"old"), actor="eve")
    else:
        registry.record(ref(1), artifact(digest, b"old"))


def nothing_named_is_gone(registry: Registry, place: MemoryBytes) -> None:
    for row in registry.versions("fraud"):
        assert place.get(registry.version(row.ref).output) is not None, row.ref
        packaged = registry.facts(row.ref).artifact
        assert packaged is None or place.get(keys.blob(packaged.blob)) is not None, row.ref


class Meanwhile:
    """Work in a thread of its own, that goes on until it ends or waits for a sweep; then it waits for the test."""

    def __init__(self, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
        self.stopped, self.swept = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(work,))
        monkeypatch.setattr(collect.secure, "__kwdefaults__", {"sleep": self._sleep})

    def _sleep(self, seconds: float) -> None:
        self.stopped.set()
        assert self.swept.wait(60)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except SluiceError as error:
            self.error = error
        finally:
            self.stopped.set()

    def go(self) -> None:
        self.thread.start()
        assert self.stopped.wait(60)

    def end(self) -> bool:
        """Whether it was begun and done."""
        self.swept.set()
        if self.thread.ident is not None:
            self.thread.join()
        return self.thread.ident is not None and self.error is None


COLLECTING = range(1, 24)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("n", COLLECTING)
def test_old_bytes_are_named_between_any_two_requests_of_a_collection(
    registry: Registry,
    on: Makes,
    store: Store,
    place: MemoryBytes,
    source: Sources,
    clock: Any,
    watched: Any,
    monkeypatch: pytest.MonkeyPatch,
    n: int,
    deed: str,
    after: bool,
) -> None:
    digest = prepared(registry, source, clock)
    other = Meanwhile(lambda: name(on(store), deed, digest), monkeypatch)
    steps = Steps(place, other.go, n, after)
    on(steps.over(watched, store)).collect(actor="gc")
    named = other.end()
    assert steps.count < COLLECTING.stop
    nothing_named_is_gone(on(store), place)
    assert named or place.get(keys.blob(digest)) is None
    clock.advance(days=2)
    registry.collect(actor="gc")
    nothing_named_is_gone(on(store), place)
    assert named == (place.get(keys.blob(digest)) is not None)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("n", range(1, 18))
def test_a_whole_collection_between_any_two_requests_of_naming_old_bytes(
    registry: Registry,
    on: Makes,
    store: Store,
    place: MemoryBytes,
    source: Sources,
    clock: Any,
    watched: Any,
    n: int,
    deed: str,
    after: bool,
) -> None:
    digest = prepared(registry, source, clock)
    steps = Steps(place, lambda: on(store).collect(actor="gc") and None, n, after)
    try:
        name(on(steps.over(watched, store)), deed, digest)
        named = True
    except SluiceError:
        named = False
    nothing_named_is_gone(on(store), place)
    assert steps.count < 18
    assert named == (place.get(keys.blob(digest)) is not None)


def test_a_registration_during_a_collection_keeps_its_copy(
    registry: Registry, on: Makes, store: Store, place: MemoryBytes, source: Sources, clock: Any, watched: Any
) -> None:
    prepared(registry, source, clock)
    for n in range(1, 24):
        job = f"during-{n}"
        steps = Steps(
            MemoryBytes(), lambda job=job: on(store).register("fraud", source(job), actor="eve") and None, n, False
        )
        on(steps.over(watched, store)).collect(actor="gc")
        nothing_named_is_gone(on(store), place)
