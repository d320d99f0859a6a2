"""How a version gets its number without a lock or a database (docs/architecture.md, "Registering").

1. Claim the source by a conditional create that holds the newest number n. Whoever finds the claim taken reads its n
   instead, and knows that every version on this source is numbered above it.
2. Take the registry's own copy of the bytes.
3. Try to create the log's entry n + 1, conditionally. Where that number is taken, its entry tells whether this very
   source is in it, in which case that is the answer, or others, in which case the number after them is tried.

Every writer only tries a number after it saw the entry below, so numbers are dense; two writers of one source walk
over the same entries, so the later one meets the earlier one's. Writers of one process go together: those who wait
while an entry is written share the next one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Condition, Lock
from typing import NamedTuple

from pydantic import ValidationError

from registry import collect, keys, log
from registry.changes import Event, EventKind, Model
from registry.errors import InvalidInput, SluiceError, Unavailable
from registry.eventlog import telling
from registry.facts import ENTRY_MAX, Entry, Source, SourceClaim, Tombstone, Version
from registry.limits import RECORD_MAX
from registry.names import VersionRef, check_label
from registry.outputs import Outputs, blob_of
from registry.records import Records
from registry.store import Bytes

_REMEMBERED = 4_096
"""Of a model's newest versions, whose sources are kept in mind."""
_SLACK = 1_000
"""More than a version's number, its copy's key and an entry's token take."""
_PATIENCE = 0.005
"""Seconds that an entry waits for those who are on their way into it."""
_LEDGERS = 10_000
"""Models whose last number is kept in mind."""


class Registered(NamedTuple):
    """What registering gave: the version, and whether this call made it."""

    version: Version
    created: bool


class Draft(NamedTuple):
    """A version before it has a number."""

    model: str
    source: Source
    actor: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    git_commit: str
    description: str
    created_at: datetime | None
    """When another registry had registered it; None: now."""
    size: int
    """Bytes that it takes in an entry, about."""


def draft_of(
    model: str,
    source: Source,
    actor: str,
    *,
    metrics: Mapping[str, float] = {},
    tags: Mapping[str, str] = {},
    git_commit: str = "",
    description: str = "",
    created_at: datetime | None = None,
) -> Draft:
    """A draft whose every part can be written: the job's metrics with the caller's over them.

    Raises:
        InvalidInput: a bad name, or more than there may be of something.
    """
    trained = source.training.metrics if source.training else {}
    merged = {**trained, **metrics}
    try:
        tried = Version(
            model=model,
            number=1,
            source=source,
            metrics=merged,
            tags=tags,
            git_commit=git_commit,
            description=description,
            created_at=datetime.now(UTC),
            created_by=actor,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = first["loc"][0]  # no further: a key may be anything
        raise InvalidInput(f"The {where} of the version does not fit ({first['msg']}): correct it.") from error
    size = len(Entry(token="-" * 64, versions=(tried,)).to_bytes()) + _SLACK
    if size > RECORD_MAX:
        raise InvalidInput(f"The version's record would take {size} bytes, and {RECORD_MAX} are the most: say less.")
    return Draft(model, source, actor, tried.metrics, tried.tags, tried.git_commit, description, created_at, size)


class _Waiting:
    """A draft that waits for its number, and what became of it."""

    def __init__(self, draft: Draft, output: str, seen: int) -> None:
        self.draft, self.output = draft, output
        self.identity = draft.source.identity
        self.seen = seen
        """Up to this number, no version is of this source."""
        self.result: Registered | None = None
        self.error: SluiceError | None = None

    @property
    def settled(self) -> bool:
        return self.result is not None or self.error is not None


class _Ledger:
    """What this process knows of one model's log: that it goes up to `base` at least, and its newest sources."""

    def __init__(self) -> None:
        self.turn = Lock()
        """Held by the one who writes."""
        self.gate = Condition()
        """Held while `waiting` and `coming` change."""
        self.waiting: list[_Waiting] = []
        self.coming = 0
        """How many are on their way to `waiting`."""
        self.base: int | None = None
        self.sources: OrderedDict[int, str] = OrderedDict()

    def add(self, entry: Entry) -> None:
        for version in entry.versions:
            self.sources[version.number] = version.source.identity
        while len(self.sources) > _REMEMBERED:
            self.sources.popitem(last=False)
        self.base = entry.last

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Whoever prepares a draft says so, so that who writes meanwhile may wait for it."""
        with self.gate:
            self.coming += 1
        try:
            yield
        finally:
            with self.gate:
                self.coming -= 1
                self.gate.notify()

    def join(self, waiting: _Waiting) -> None:
        """Be among the next."""
        with self.gate:
            self.waiting.append(waiting)

    def take(self) -> list[_Waiting]:
        """Those whose turn it is: as many as fit one entry. An entry takes longer than the few who come right now."""
        with self.gate:
            self.gate.wait_for(lambda: not self.coming or len(self.waiting) >= ENTRY_MAX, _PATIENCE)
            size, count = 0, 0
            for waiting in self.waiting[:ENTRY_MAX]:
                size += waiting.draft.size
                if count and size > RECORD_MAX:
                    break
                count += 1
            batch, self.waiting = self.waiting[:count], self.waiting[count:]
        return batch


class Registrar:
    """Gives numbers to versions. One that many threads share makes the fewest requests."""

    def __init__(self, records: Records, outputs: Outputs, place: Bytes) -> None:
        self._records = records
        self._outputs = outputs
        self._bytes = place
        self._ledgers: OrderedDict[str, _Ledger] = OrderedDict()
        self._lock = Lock()

    def register(self, draft: Draft) -> Registered:
        """The next version of a model, or the one that was made of this source before and not deleted since.

        Three requests for a new version where nobody races and the model's last number is known, beside those of the
        copy; two more for the first of a process, and one for a model's first.

        Raises:
            InvalidInput: a bad model name.
            NotFound: the source is gone.
            Conflict: the source was replaced.
            Refused: the store does not keep conditional writes.
            Unavailable: an uploaded source was collected as garbage this moment.
        """
        check_label(draft.model)
        ledger = self._ledger(draft.model)
        base = self._base(draft, ledger)
        identity = draft.source.identity
        with ledger.arriving():
            claim = SourceClaim(identity=identity, after=base)
            after = self._records.create(keys.source(draft.model, identity), claim).after
            there = self._find(draft.model, ledger, identity, after, base)
            if there is not None:
                return Registered(there, created=False)
            waiting = _Waiting(draft, self._own(draft.source), max(after, base))
            ledger.join(waiting)
        with ledger.turn:
            while not waiting.settled:
                self._write_some(draft.model, ledger)
        if waiting.error is not None:
            raise waiting.error
        assert waiting.result is not None  # noqa: S101  # it is settled, and not by an error
        return waiting.result

    def registered(self, model: str, identity: str) -> Version | None:
        """The version on a source, the last one where some were deleted, or None where there never was one.

        A request for each entry since the source was claimed, until one is found that was not deleted.
        """
        claim = self._records.read(keys.source(check_label(model), identity), SourceClaim)
        found, number = None, 0 if claim is None else claim.after + 1
        while number and (entry := log.entry_from(self._records, VersionRef(model=model, number=number))):
            for version in entry.versions:
                if version.source.identity == identity:
                    found = version
                    if not self._deleted(version.ref):
                        return found
            number = entry.last + 1
        return found

    def _ledger(self, model: str) -> _Ledger:
        with self._lock:
            ledger = self._ledgers.setdefault(model, _Ledger())
            self._ledgers.move_to_end(model)
            if len(self._ledgers) > _LEDGERS:
                self._ledgers.popitem(last=False)
        return ledger

    def _base(self, draft: Draft, ledger: _Ledger) -> int:
        """A number that the log has reached; the model's record is there afterwards."""
        if ledger.base is None:
            with ledger.turn:
                self._begin(draft, ledger)
        return ledger.base or 0

    def _begin(self, draft: Draft, ledger: _Ledger) -> None:
        if ledger.base is not None:  # somebody was faster
            return
        last = log.newest(self._records, draft.model)
        if last is not None:
            ledger.add(last)
            return
        model = Model(name=draft.model, created_at=self._records.now(), created_by=draft.actor)
        self._records.create(keys.model(draft.model), model)
        ledger.base = 0

    def _own(self, source: Source) -> str:
        output = self._outputs.own(source)
        if blob_of(source) is not None:
            collect.secure(self._records, self._bytes, output)
        return output

    def _find(self, model: str, ledger: _Ledger, identity: str, after: int, upto: int) -> Version | None:
        """A live version on the source numbered above `after`, up to `upto`; what is kept in mind is not read."""
        number = after + 1
        while number <= upto:
            known = ledger.sources.get(number)
            if known is not None and known != identity:
                number += 1
                continue
            entry = log.entry_of(self._records, VersionRef(model=model, number=number))
            for version in entry.versions if entry else ():
                if version.source.identity == identity and not self._deleted(version.ref):
                    return version
            number = entry.last + 1 if entry else number + 1
        return None

    def _deleted(self, ref: VersionRef) -> bool:
        return self._records.store.get(keys.fact(ref, Tombstone.kind)) is not None

    def _write_some(self, model: str, ledger: _Ledger) -> None:
        """Settle those whose turn it is."""
        batch = ledger.take()
        error: SluiceError = Unavailable("The registration was cut short: try again.")
        try:
            self._settle(model, ledger, batch)
        except SluiceError as failure:
            error = failure
        finally:
            for waiting in batch:
                if not waiting.settled:
                    waiting.error = error

    def _settle(self, model: str, ledger: _Ledger, batch: Sequence[_Waiting]) -> None:
        while fresh := [one for one in batch if not one.settled and not self._was_there(model, ledger, one)]:
            distinct = list({waiting.identity: waiting for waiting in reversed(fresh)}.values())[::-1]
            entry = self._entry(model, ledger.base or 0, distinct)
            there = write_entry(self._records, entry, by=distinct[0].draft.actor)
            ledger.add(there)
            if there.token == entry.token:
                made = dict(zip((waiting.identity for waiting in distinct), entry.versions, strict=True))
                for waiting in fresh:
                    waiting.result = Registered(made[waiting.identity], created=waiting in distinct)
                return
            while further := log.entry_from(self._records, VersionRef(model=model, number=there.last + 1)):
                ledger.add(further)
                there = further

    def _was_there(self, model: str, ledger: _Ledger, waiting: _Waiting) -> bool:
        base = ledger.base or 0
        found = self._find(model, ledger, waiting.identity, waiting.seen, base)
        waiting.seen = max(waiting.seen, base)
        if found is not None:
            waiting.result = Registered(found, created=False)
        return found is not None

    def _entry(self, model: str, base: int, drafts: Sequence[_Waiting]) -> Entry:
        now = self._records.now()
        versions = tuple(
            Version(
                model=model,
                number=number,
                source=one.draft.source,
                output=one.output,
                metrics=one.draft.metrics,
                tags=one.draft.tags,
                git_commit=one.draft.git_commit,
                description=one.draft.description,
                created_at=one.draft.created_at or now,
                created_by=one.draft.actor,
            )
            for number, one in enumerate(drafts, start=base + 1)
        )
        return Entry(token=self._records.token(), versions=versions)


def write_entry(records: Records, entry: Entry, *, by: str) -> Entry:
    """Tell of an entry and write it; gives what its key holds afterwards, which may be another writer's."""
    first = entry.versions[0]

    def event() -> Event:
        return Event(
            kind=EventKind.REGISTERED,
            model=first.model,
            number=first.number,
            last=entry.last,
            at=records.now(),
            by=by,
            token=entry.token,
        )

    return telling(records, event, lambda: records.create(keys.entry(first.ref), entry))
