"""The whole registry beside a simple model of it: several processes over one store, where any request may go wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from registry import catalog, index, keys, log, rows
from registry.audit import audit
from registry.aws import Clients
from registry.catalog import Catalog
from registry.changes import Alias, Approval, Event, EventKind, ModelEdit, Summary
from registry.errors import Conflict, NotFound, Refused, SluiceError, Unavailable
from registry.facts import Format, Scan, Source, Version
from registry.feed import Feed
from registry.memory import MemoryStore
from registry.names import AliasRef, VersionRef
from registry.progress import Silent
from registry.records import Records
from registry.registry import Registry
from registry.s3 import S3Store
from registry.store import Store, Stored
from sluice.demo.endpoints import Endpoints

T = TypeVar("T")
Makes = Callable[..., Registry]
PROCESSES = 3
MODELS = ("a", "a-b")


class Died(BaseException):
    """The process ended here, as far as the code under test can tell."""


class Fault(NamedTuple):
    """What becomes of the n-th request from now on; of none where n is 0."""

    kind: str
    n: int


class Faulty:
    """A store as processes see it: each request may fail before or after its effect, or have its effect later.

    What S3Store hides by trying again is not seen here; what it gives up on is: an answer that never came, whether the
    request had its effect or not.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.fault, self.count = Fault("none", 0), 0
        self.act: Callable[[], None] = lambda: None
        self.slow: Callable[[], None] = lambda: None
        self.late: list[Callable[[], object]] = []

    def arm(self, fault: Fault, act: Callable[[], None]) -> None:
        self.fault, self.count, self.act = fault, 0, act

    def settle(self) -> None:
        """No more faults; what was under way arrives."""
        self.fault = NO_FAULT
        late, self.late = self.late, []
        for request in late:
            with suppress(Conflict):
                request()

    def get(self, key: str) -> Stored | None:
        return self._do(lambda: self.inner.get(key))

    def create(self, key: str, data: bytes) -> str:
        return self._do(lambda: self.inner.create(key, data), writes=True)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return self._do(lambda: self.inner.replace(key, data, etag), writes=True)

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[str]:
        return iter(self._do(lambda: [*self.inner.list(prefix, after=after, limit=limit)]))

    def folders(self, prefix: str) -> Iterator[str]:
        return iter(self._do(lambda: [*self.inner.folders(prefix)]))

    def _do(self, request: Callable[[], T], *, writes: bool = False) -> T:
        self.count += 1
        kind, _, when = self.fault.kind.partition(" ") if self.count == self.fault.n else ("", "", "")
        if kind == "late" and writes:
            self.late.append(request)
        if when == "before":
            self._strike(kind)
        answer = request()
        if when == "after":
            self._strike(kind)
        return answer

    def _strike(self, kind: str) -> None:
        self.fault = NO_FAULT
        if kind == "dies":
            raise Died
        if kind in ("away", "late"):
            raise Unavailable("S3 does not answer: try again.")
        if kind == "slow":
            self.slow()
        if kind == "race":
            self.act()


KINDS = [f"{kind} {when}" for kind in ("away", "dies", "slow", "race") for when in ("before", "after")]
KINDS.append("late before")
NO_FAULT = Fault("none", 0)
FAULTS = st.just(NO_FAULT) | st.builds(Fault, st.sampled_from(KINDS), st.integers(1, 10))
WHO = st.integers(0, PROCESSES - 1)
MODEL = st.sampled_from(("a", "a", "a", "a-b"))
JOB = st.sampled_from([f"j{n}" for n in range(4)])
NUMBER = st.integers(1, 5)
ALIAS = st.sampled_from(["champion", "shadow"])


def scan(size: int) -> Scan:
    return Scan(source="sha256:" + "0" * 64, size=size, format=Format.TORCHSCRIPT, root="m", files=())


def what(event: Event) -> Any:
    """What an event tells of: of a fact it is no matter which of several who tried has written it."""
    if event.kind in (EventKind.ALIASED, EventKind.DECIDED):
        return event.token
    return event.model, event.number, event.fact


def by_name(summaries: Iterator[Summary]) -> list[Summary]:
    return sorted(summaries, key=lambda one: one.model.name)


def sometimes(check: Callable[[Machine], None]) -> Callable[[Machine], None]:
    """After each step where that is cheap, and at the end."""

    @functools.wraps(check)
    def wrapped(self: Machine) -> None:
        if self.thorough or self.ending:
            check(self)

    return wrapped


class Machine(RuleBasedStateMachine):
    """What must hold of the registry, whatever happens in whatever order."""

    begin: Callable[[], Any]
    on: Makes
    clock: Any
    source: Callable[..., Source]
    thorough = True
    ending = False

    @initialize(jobs=st.lists(JOB, max_size=4))
    def start(self, jobs: list[str]) -> None:
        self.truth, self.store = type(self).begin()
        self.records = Records(self.truth, clock=self.clock)
        self.processes = [self.on(self.store) for _ in range(PROCESSES)]
        self.acknowledged: dict[VersionRef, Version] = {}
        self.created: set[VersionRef] = set()
        self.scans: dict[VersionRef, Scan] = {}
        self.stones: set[VersionRef] = set()
        self.moves: set[str] = set()
        self.decided: set[str] = set()
        self.tried: set[str] = set()
        self.heard: set[Any] = set()
        self.cursor = ""
        self.tokens = self.acting = 0
        self.store.slow = self.slow
        for job in jobs:
            self.register(0, "a", job, NO_FAULT, job)

    def slow(self) -> None:
        """Much time passes in the middle of something, and others look what there is."""
        for seconds in (0, 100):
            self.clock.advance(seconds=seconds)
            self.follow()
            for process in (one for n, one in enumerate(self.processes) if n != self.acting):
                list(process.models())
                for model in MODELS:
                    with suppress(NotFound):
                        process.version_lines(model, 10)

    def token(self) -> str:
        self.tokens += 1
        self.tried.add(f"k{self.tokens}")
        return f"k{self.tokens}"

    def do(
        self, who: int, fault: Fault, work: Callable[[Registry], T], race: Callable[[], None]
    ) -> T | SluiceError | None:
        """What the work gave, or its error, or None where the process died; it has another in its place then."""
        self.acting = who
        self.store.arm(fault, race)
        try:
            return work(self.processes[who])
        except Unavailable as error:
            if not fault.n:
                raise
            return error
        except SluiceError as error:
            return error
        except Died:
            self.processes[who] = self.on(self.store)
            return None
        finally:
            self.store.settle()

    def live(self, model: str) -> dict[str, int]:
        """By identity of their source, the numbers of versions that were not deleted."""
        return {v.source.identity: v.number for v in self.versions(model) if not self.is_deleted(v.ref)}

    def versions(self, model: str) -> list[Version]:
        return [version for entry in log.entries(self.records, model) for version in entry.versions][::-1]

    def is_deleted(self, ref: VersionRef) -> bool:
        return self.truth.get(keys.fact(ref, "deleted")) is not None

    def exists(self, ref: VersionRef) -> bool:
        return log.entry_of(self.records, ref) is not None

    @rule(who=WHO, model=MODEL, job=JOB, fault=FAULTS, other=JOB)
    def register(self, who: int, model: str, job: str, fault: Fault, other: str) -> None:
        def race() -> None:
            for name in (other, job):
                self.told(model, name, self.on(self.truth).register(model, self.source(name), actor="bob"))

        before = self.live(model)
        result = self.do(who, fault, lambda one: one.register(model, self.source(job), actor="ann"), race)
        if isinstance(result, tuple):
            self.told(model, job, result)
            if "race" not in fault.kind:
                assert result.created == (self.source(job).identity not in before)
        else:
            assert fault.n

    @rule(who=WHO, jobs=st.lists(JOB, min_size=2, max_size=4))
    def register_some(self, who: int, jobs: list[str]) -> None:
        for job in jobs:
            self.register(who, "a", job, NO_FAULT, job)

    def told(self, model: str, job: str, result: Any) -> None:
        version = result.version
        assert (version.model, version.source) == (model, self.source(job))
        if result.created:
            assert version.ref not in self.created
            self.created.add(version.ref)
        assert self.acknowledged.setdefault(version.ref, version) == version

    @rule(who=WHO, model=MODEL, number=NUMBER, size=st.integers(1, 2), fault=FAULTS)
    def record(self, who: int, model: str, number: int, size: int, fault: Fault) -> None:
        ref = VersionRef(model=model, number=number)

        def race() -> None:
            with suppress(NotFound, Conflict):
                self.scans[ref] = self.on(self.truth).record(ref, scan(1))

        possible = self.exists(ref) and not self.is_deleted(ref)
        result = self.do(who, fault, lambda one: one.record(ref, scan(size)), race)
        if isinstance(result, Scan):
            assert possible
            assert self.scans.setdefault(ref, result) == result == scan(size)
        elif isinstance(result, NotFound):
            assert not possible
        elif isinstance(result, Conflict):
            there = self.records.read(keys.fact(ref, "scan"), Scan)
            assert there not in (None, scan(size))

    @rule(who=WHO, model=MODEL, number=NUMBER, name=ALIAS, fault=FAULTS, twice=st.booleans())
    def move(self, who: int, model: str, number: int, name: str, fault: Fault, twice: bool) -> None:
        ref, token = VersionRef(model=model, number=number), self.token()
        before = self.records.read(keys.alias(model, name), Alias)

        def race() -> None:
            if self.exists(VersionRef(model=model, number=1)):
                self.move(who, model, 1, name, NO_FAULT, False)
                self.delete(who, model, number, NO_FAULT)

        for _ in range(1 + twice):
            result = self.do(who, fault, lambda one: one.set_alias(ref, name, actor="ann", token=token), race)
            fault = NO_FAULT
        if isinstance(result, Alias):
            self.moves.add(token)
            assert any(move.token == token and move.number == number for move in result.moves)
        elif isinstance(result, NotFound):
            assert not self.exists(ref) or self.is_deleted(ref)
        after = self.records.read(keys.alias(model, name), Alias)
        assert before is None or after is not None

    @rule(who=WHO, model=MODEL, name=ALIAS, fault=FAULTS)
    def remove(self, who: int, model: str, name: str, fault: Fault) -> None:
        token = self.token()
        result = self.do(who, fault, lambda one: one.remove_alias(model, name, actor="ann", token=token), lambda: None)
        if isinstance(result, Alias):
            self.moves.add(token)

    @rule(who=WHO, model=MODEL, number=NUMBER, approval=st.sampled_from(Approval), fault=FAULTS, twice=st.booleans())
    def decide(self, who: int, model: str, number: int, approval: Approval, fault: Fault, twice: bool) -> None:
        ref, token = VersionRef(model=model, number=number), self.token()

        def race() -> None:
            with suppress(NotFound):
                self.decided.add(self.on(self.truth).decide(ref, Approval.REJECTED, actor="bob").token)

        for _ in range(1 + twice):
            result = self.do(who, fault, lambda one: one.decide(ref, approval, actor="ann", token=token), race)
            fault = NO_FAULT
        if not isinstance(result, SluiceError) and result is not None:
            self.decided.add(token)
            assert (result.token, result.approval) == (token, approval)

    @rule(who=WHO, model=MODEL, number=NUMBER, fault=FAULTS)
    def delete(self, who: int, model: str, number: int, fault: Fault) -> None:
        ref = VersionRef(model=model, number=number)
        named = {alias.number for alias in self.aliases(model)}
        existed, gone = self.exists(ref), self.is_deleted(ref)

        def race() -> None:
            with suppress(NotFound):
                token = self.token()
                self.on(self.truth).set_alias(ref, "champion", actor="bob", token=token)
                self.moves.add(token)

        result = self.do(who, fault, lambda one: one.delete(ref, actor="ann"), race)
        if isinstance(result, NotFound):
            assert not existed
        elif isinstance(result, Refused):
            assert number in named or "race" in fault.kind
        elif result is not None and not isinstance(result, SluiceError):
            assert existed
            assert gone or number not in named
            self.stones.add(ref)
            assert number not in {alias.number for alias in self.aliases(model)}

    def aliases(self, model: str) -> list[Alias]:
        found = [self.records.read(key, Alias) for key in self.truth.list(keys.aliases(model))]
        return [alias for alias in found if alias is not None]

    @rule(who=WHO, model=MODEL, fault=FAULTS, other=JOB)
    def delete_model(self, who: int, model: str, fault: Fault, other: str) -> None:
        last = len(self.versions(model))

        def race() -> None:
            self.told(model, other, self.on(self.truth).register(model, self.source(other), actor="bob"))

        result = self.do(who, fault, lambda one: one.delete_model(model, actor="ann"), race)
        if result is not None and not isinstance(result, SluiceError):
            assert result.upto >= last
            assert min(self.live(model).values(), default=result.upto + 1) > result.upto

    @rule(who=WHO, model=MODEL, owner=st.sampled_from(["risk", "crm"]), fault=FAULTS)
    def edit(self, who: int, model: str, owner: str, fault: Fault) -> None:
        result = self.do(
            who, fault, lambda one: one.edit_model(model, ModelEdit(owner=owner), actor="ann"), lambda: None
        )
        if result is not None and not isinstance(result, SluiceError):
            assert self.on(self.truth).model(model).owner == owner

    @rule(who=WHO, fault=FAULTS, model=MODEL)
    def list_all(self, who: int, fault: Fault, model: str) -> None:
        def race() -> None:
            self.told(model, "j3", self.on(self.truth).register(model, self.source("j3"), actor="bob"))

        def work(one: Registry) -> bool:
            for summary in one.models():
                list(one.versions(summary.model.name, deleted=True))
            return True

        self.do(who, fault, work, race)

    @rule(who=WHO, fault=FAULTS, model=MODEL | st.none())
    def rebuild(self, who: int, fault: Fault, model: str | None) -> None:
        self.do(who, fault, lambda one: one.rebuild(model), lambda: None)

    @rule(who=WHO, fault=FAULTS)
    def collect(self, who: int, fault: Fault) -> None:
        self.do(who, fault, lambda one: one.collect(actor="gc"), lambda: None)

    @rule(who=WHO)
    def restart(self, who: int) -> None:
        self.processes[who] = self.on(self.store)

    @rule(seconds=st.sampled_from([1, 20, 40, 61, 700, 200_000]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    @invariant()
    @sometimes
    def numbers_are_dense_and_sources_live_once(self) -> None:
        seen: dict[VersionRef, Version] = {}
        for model in MODELS:
            versions = self.versions(model)
            assert [version.number for version in versions] == list(range(1, len(versions) + 1))
            live = [v.source.identity for v in versions if not self.is_deleted(v.ref)]
            assert len(live) == len(set(live))
            seen |= {version.ref: version for version in versions}
        assert self.acknowledged.items() <= seen.items()

    @invariant()
    @sometimes
    def what_was_acknowledged_is_there(self) -> None:
        for ref, fact in self.scans.items():
            assert self.records.read(keys.fact(ref, "scan"), Scan) == fact
        assert all(self.is_deleted(ref) for ref in self.stones)

    @invariant()
    @sometimes
    def bytes_of_live_versions_are_there(self) -> None:
        bytes_ = self.processes[0].storage.bytes
        for model in MODELS:
            for version in self.versions(model):
                assert self.is_deleted(version.ref) or bytes_.modified(version.output) is not None

    @invariant()
    @sometimes
    def lists_show_the_truth(self) -> None:
        truth = {model: self.lines(model) for model in MODELS}
        summaries = by_name(Catalog(self.records, Feed(self.records)).anew())
        # the last one asks only when something else makes it, and so has much to catch up with
        for registry in [*self.processes[: None if self.ending else -1], self.on(self.truth)]:
            for model in MODELS:
                with suppress(NotFound):
                    assert registry.version_lines(model, 1_000, deleted=True) == truth[model]
            assert by_name(registry.models()) == summaries

    def lines(self, model: str) -> list[bytes]:
        last = len(self.versions(model))
        return [one.to_line() for one in rows.of_range(self.records, model, 1, last)][::-1] if last else []

    @invariant()
    @sometimes
    def aliases_keep_their_history_and_never_resolve_to_what_was_deleted(self) -> None:
        registry, tokens = self.on(self.truth), set()
        for model in MODELS:
            for alias in self.aliases(model):
                history = registry.alias_history(model, alias.name)[::-1]
                assert [move.previous for move in history] == [None, *[move.number for move in history[:-1]]]
                assert [move.at for move in history] == sorted(move.at for move in history)
                assert len({move.token for move in history}) == len(history)
                tokens |= {move.token for move in history}
                with suppress(NotFound):
                    assert not self.is_deleted(registry.resolve(AliasRef(model=model, alias=alias.name)))
        assert self.moves <= tokens
        assert {token for token in tokens if token.startswith("k")} <= self.tried

    @invariant()
    @sometimes
    def whatever_came_about_was_told_and_nothing_else(self) -> None:
        registry = self.on(self.truth)
        told: dict[EventKind, set[Any]] = {kind: set() for kind in EventKind}
        happened: dict[EventKind, set[Any]] = {kind: set() for kind in EventKind}
        registrations = set()
        for one in registry.events().events:
            event = one.event
            told[event.kind].add(what(event))
            if event.kind is EventKind.REGISTERED:
                registrations.add((event.token, event.model, event.number))
        for model in MODELS:
            for version in self.versions(model):
                ref, place = version.ref, (model, version.number)
                happened[EventKind.REGISTERED].add((*place, None))
                if self.truth.get(keys.fact(ref, "scan")):
                    happened[EventKind.RECORDED].add((*place, "scan"))
                if self.is_deleted(ref):
                    happened[EventKind.DELETED].add((*place, None))
                happened[EventKind.DECIDED] |= {one.token for one in registry.decisions(ref)}
            for alias in self.aliases(model):
                happened[EventKind.ALIASED] |= {move.token for move in registry.alias_history(model, alias.name)}
        told[EventKind.EDITED] = happened[EventKind.EDITED]
        assert told == happened
        assert len(registrations) == len(happened[EventKind.REGISTERED])
        assert self.decided <= happened[EventKind.DECIDED]
        self.follow()
        assert {deed for deeds in told.values() for deed in deeds} <= self.heard

    def follow(self) -> None:
        page = self.on(self.truth).events(self.cursor)
        self.cursor = page.cursor
        self.heard |= {what(one.event) for one in page.events}

    def teardown(self) -> None:
        if hasattr(self, "truth"):
            self.ending = True
            self.numbers_are_dense_and_sources_live_once()
            self.what_was_acknowledged_is_there()
            self.lists_show_the_truth()
            self.aliases_keep_their_history_and_never_resolve_to_what_was_deleted()
            self.whatever_came_about_was_told_and_nothing_else()
            found = audit(self.on(self.truth).storage, progress=Silent()).findings
            # only whoever died while deleting leaves an alias behind, and deleting again mends it
            assert [one for one in found if not one.endswith("which was deleted.")] == []


def machine(**said: Any) -> type[Machine]:
    return type("Filled", (Machine,), {name: staticmethod(given) for name, given in said.items()})


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches in small objects that are written whenever something changed."""
    monkeypatch.setattr(index, "SEGMENT", 3)
    monkeypatch.setattr(index, "_WORTH", 0)
    monkeypatch.setattr(catalog, "_WORTH", 0)


def test_whatever_happens_in_whatever_order(on: Makes, source: Callable[..., Source], clock: Any) -> None:
    def begin() -> tuple[Store, Faulty]:
        truth = MemoryStore()
        return truth, Faulty(truth)

    run_state_machine_as_test(
        machine(begin=begin, on=on, source=source, clock=clock),
        settings=settings(max_examples=90, stateful_step_count=20),
    )


class Wire:
    """S3Store behind the proxy: what it tries again is hidden, what it gives up on is not."""

    def __init__(self, store: S3Store, proxy: Any) -> None:
        self.store, self.proxy = store, proxy
        self.slow: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def arm(self, fault: Fault, act: Callable[[], None]) -> None:
        first, for_good = len(self.proxy.requests) + fault.n, fault.kind in ("away before", "away after")

        def strike(request: Any) -> str:
            count = len(self.proxy.requests)
            if not fault.n or count < first or (count > first and not for_good):
                return ""
            if fault.kind in ("race before", "race after") and request.method != "PUT":
                return ""
            return ON_THE_WIRE[fault.kind]

        self.proxy.fault = strike

    def settle(self) -> None:
        self.proxy.fault = lambda _: ""


SLOW_DOWN = "answer 503 <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
ANOTHER = "answer 409 <Error><Code>ConditionalRequestConflict</Code><Message>Try again.</Message></Error>"
ON_THE_WIRE = {
    "away before": "lost request",
    "away after": "lost answer",
    "late before": "lost answer",
    "dies before": "lost request",
    "dies after": "half answer",
    "slow before": SLOW_DOWN,
    "slow after": SLOW_DOWN,
    "race before": ANOTHER,
    "race after": ANOTHER,
}


def test_whatever_happens_on_the_way_to_s3(
    on: Makes,
    source: Callable[..., Source],
    clock: Any,
    proxy: Any,
    proxied: Clients,
    endpoints: Endpoints,
    new_bucket: Callable[[], str],
) -> None:
    def begin() -> tuple[Store, Wire]:
        proxy.reset()
        bucket = new_bucket()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_S3", endpoints.s3_url)
            truth = S3Store(proxied, bucket)
        return truth, Wire(S3Store(proxied, bucket), proxy)

    filled = machine(begin=begin, on=on, source=source, clock=clock)
    filled.thorough = False
    run_state_machine_as_test(filled, settings=settings(max_examples=4, stateful_step_count=10))
