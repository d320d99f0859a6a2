"""Garbage collection: marks every copy and blob that a record names, and sweeps the others once they are old enough.

What is being registered is safe in two ways. Bytes that were just written are younger than the grace period. Whoever
is about to name older ones makes them young first and then waits for a sweep that had begun before (`secure`): a
sweep that begins later sees them young, and asks their age right before it removes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from pydantic import NonNegativeInt

from registry import aliases, keys, log
from registry.errors import Conflict, InvalidInput, NotFound, Unavailable
from registry.facts import Artifact, Record, Tombstone, Version
from registry.limits import Actor, Token
from registry.names import VersionRef
from registry.progress import Progress
from registry.records import Records
from registry.store import Bytes, StoredObject

GRACE = timedelta(hours=24)
GRACE_MIN = timedelta(hours=1)
_YOUNG = GRACE_MIN / 2
"""Bytes of this age need no care: no sweep takes them for as long again, whoever's clock is a little off."""
_PREFIXES = ("blobs/sha256/", "outputs/", "uploads/")
_LEASE = timedelta(minutes=10)
_MARGIN = timedelta(minutes=2)
_AT_ONCE = 100
_READERS = 8


class Sweep(Record):
    """Who collects, and until when at most; in the past where nobody does."""

    token: Token
    until: datetime
    by: Actor


class Collected(Record):
    """What a collection found. Sizes are bytes; of a dry run, `removed` is what would have been."""

    dry_run: bool
    named: NonNegativeInt
    named_size: NonNegativeInt
    young: NonNegativeInt
    """Objects nobody names, younger than the grace period."""
    removed: NonNegativeInt
    removed_size: NonNegativeInt
    keys: tuple[str, ...]
    """The removed objects' keys, the first thousand of them."""


def secure(records: Records, place: Bytes, key: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Make sure that bytes which are about to be named are not collected; at most one request where they are young.

    Raises:
        NotFound: they are not there.
        Unavailable: they were collected this moment; store them again.
    """
    there = place.seen(key)
    if there is None:
        raise NotFound(f"{key} is gone from the bucket: store it again.")
    if records.now() - there.modified < _YOUNG:
        return
    place.touch(key)
    while (sweep := records.read(keys.SWEEP, Sweep)) is not None and sweep.until > records.now():
        sleep(1.0)
    if place.modified(key) is None:
        raise Unavailable(f"{key} was collected as garbage this moment: try again.")


def collect(
    records: Records,
    place: Bytes,
    *,
    actor: str,
    grace: timedelta = GRACE,
    dry_run: bool = False,
    progress: Progress,
) -> Collected:
    """Remove copies, blobs and broken-off uploads that no record names and that are older than `grace`.

    Raises:
        InvalidInput: a grace period below an hour.
        Conflict: somebody else collects.
    """
    if grace < GRACE_MIN:
        raise InvalidInput(f"A grace period of {grace} could take what is being registered: give one hour or more.")
    before = records.now() - grace
    if dry_run:
        return _swept(records, place, before, None, progress)
    lease = _Lease(records, actor)
    try:
        return _swept(records, place, before, lease, progress)
    finally:
        lease.end()


class _Lease:
    """The right to remove, for some minutes at a time."""

    def __init__(self, records: Records, actor: str) -> None:
        self._records, self._actor = records, actor
        self._token = records.token()
        self._until = records.now()
        self.renew()

    def renew(self) -> None:
        """Make it last, where it is about to end."""
        if self._until - self._records.now() < _LEASE / 2:
            self._write(self._records.now() + _LEASE)

    def holds(self) -> bool:
        """Whether there is time to remove a few more."""
        return self._until - self._records.now() > _MARGIN

    def end(self) -> None:
        """Let others in."""
        self._write(self._records.now())

    def _write(self, until: datetime) -> None:
        mine = Sweep(token=self._token, until=until, by=self._actor)

        def change(there: Sweep | None) -> Sweep:
            if there is not None and there.token != self._token and there.until > self._records.now():
                raise Conflict(f"{there.by} collects garbage until {there.until:%H:%M:%S UTC}: wait for that to end.")
            return mine

        self._records.change(keys.SWEEP, Sweep, change)
        self._until = until


def _swept(records: Records, place: Bytes, before: datetime, lease: _Lease | None, progress: Progress) -> Collected:
    there = [found for prefix in _PREFIXES for found in place.objects(prefix)]
    # marked after they were listed: what is listed and named in between counts as named
    names = _named(records, progress)
    loose = [found for found in there if found.key not in names]
    old = [found for found in loose if found.modified < before]
    removed: list[StoredObject] = []
    for start in range(0, len(old), _AT_ONCE):
        some = old[start : start + _AT_ONCE]
        removed += some if lease is None else _remove(place, some, before, lease)
        progress.fact(f"{len(removed)} of {len(old)} unnamed objects {'would be ' if lease is None else ''}removed")
    return Collected(
        dry_run=lease is None,
        named=len(there) - len(loose),
        named_size=sum(found.size for found in there if found.key in names),
        young=len(loose) - len(removed),
        removed=len(removed),
        removed_size=sum(found.size for found in removed),
        keys=tuple(found.key for found in removed[:1_000]),
    )


def _remove(place: Bytes, some: Sequence[StoredObject], before: datetime, lease: _Lease) -> list[StoredObject]:
    lease.renew()
    still_old = []
    for found in some:
        modified = place.modified(found.key)
        if modified is not None and modified < before:
            still_old.append(found)
    if not lease.holds():
        raise Unavailable("Collecting was too slow to be safe, and has stopped: start it again.")
    place.delete([found.key for found in still_old])
    return still_old


def _named(records: Records, progress: Progress) -> set[str]:
    names: set[str] = set()
    for model in log.models(records):
        names |= _named_by(records, model)
        progress.fact(f"{model} marked")
    return names


def _named_by(records: Records, model: str) -> set[str]:
    kinds = _kinds(records, model)
    # an alias that was moved while its version was deleted keeps the bytes until it has moved on
    kept = {alias.number for alias in aliases.every(records, model)}
    names: set[str] = set()
    packaged: list[VersionRef] = []
    for version in _versions(records, model):
        of = kinds.get(version.number, set())
        if Tombstone.kind in of and version.number not in kept:
            continue
        names.add(version.output)
        if Artifact.kind in of:
            packaged.append(version.ref)
    with ThreadPoolExecutor(_READERS) as readers:
        for artifact in readers.map(lambda ref: records.read(keys.fact(ref, Artifact.kind), Artifact), packaged):
            if artifact is not None:
                names.add(keys.blob(artifact.blob))
    return names


def _versions(records: Records, model: str) -> Iterator[Version]:
    for entry in log.entries(records, model):
        yield from entry.versions


def _kinds(records: Records, model: str) -> dict[int, set[str]]:
    kinds: dict[int, set[str]] = {}
    for key in records.store.list(keys.versions(model)):
        kinds.setdefault(keys.number_of(key), set()).add(key.rpartition("/")[2].removesuffix(".json"))
    return kinds
