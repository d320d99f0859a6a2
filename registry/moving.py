"""Moving house: a model with its bytes from one bucket to another, with the same numbers, tokens and times.

Each object is written only when all that it names is there: bytes before the records and facts that name them,
claims before the log's entries, entries in rising order and before their facts, aliases last. So nothing half-moved is
ever visible, and a move that broke off is finished by moving again; what is there already is not copied again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import NonNegativeInt

from registry import keys, log
from registry.changes import Alias, Decision, Event, EventKind, Model, Moves
from registry.errors import Conflict, NotFound, Refused
from registry.eventlog import telling
from registry.facts import FACTS, Artifact, Entry, Record, SourceClaim, Tombstone
from registry.limits import Actor
from registry.names import ModelName, VersionRef, check_label
from registry.progress import Progress
from registry.records import Records
from registry.registering import write_entry
from registry.storage import Storage

R = TypeVar("R", bound=Record)

_BYTES = re.compile(r"outputs/[A-Za-z0-9_-]{1,64}|blobs/sha256/[0-9a-f]{64}")
"""Where bytes lie. The other bucket's records may say anything, and whoever moves one model must not write others'."""


class Moved(Record):
    """What a move did. What was there before is not counted."""

    model: ModelName
    versions: NonNegativeInt
    records: NonNegativeInt
    """Objects that were written, versions' entries among them."""
    copies: NonNegativeInt
    """Training outputs and artifacts that were copied."""
    copied_size: NonNegativeInt
    """Bytes of these."""


class _Tally:
    def __init__(self) -> None:
        self.versions = self.records = self.copies = self.size = 0


def move_model(name: str, source: Storage, target: Storage, *, actor: Actor, progress: Progress) -> Moved:
    """Copy a model from one bucket to another, where it is new or an earlier state of the same model.

    Raises:
        NotFound: there is no such model, or bytes that a version names are gone.
        Conflict: the other bucket has a model of that name with versions of its own.
        Refused: an object is not what it must be.
    """
    check_label(name)
    records = Records(source.store)
    there = Records(target.store)
    model = records.read(keys.model(name), Model)
    if model is None:
        raise NotFound(f"There is no model {name} to move: `sluice models` lists them.")
    _check_place(keys.model(name), keys.model(model.name))
    tally = _Tally()
    if there.read(keys.model(name), Model) is None:  # else what people said of it there stays
        _write(there, keys.model(name), model, tally)
    for key in _missing(source, target, f"models/{name}/sources/"):
        _write(there, key, _read(records, key, SourceClaim), tally)
    facts = _by_number(_missing(source, target, keys.versions(name)))
    for entry in _rising(records, name):
        _move_entry(source, target, entry, facts, actor, tally)
        progress.fact(f"{name}@{entry.last} is there, {tally.copies} copies of {tally.size} bytes were made")
    for key in _missing(source, target, f"models/{name}/moves/"):
        _write(there, key, _read(records, key, Moves), tally)
    for key in source.store.list(keys.aliases(name)):
        _move_alias(there, key, _read(records, key, Alias), actor, tally)
    return Moved(
        model=name, versions=tally.versions, records=tally.records, copies=tally.copies, copied_size=tally.size
    )


def _missing(source: Storage, target: Storage, prefix: str) -> list[str]:
    there = set(target.store.list(prefix))
    return [key for key in source.store.list(prefix) if key not in there]


def _by_number(listed: Iterable[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for key in listed:
        found.setdefault(keys.number_of(key), []).append(key)
    return found


def _rising(records: Records, name: str) -> Iterator[Entry]:
    for key in reversed(list(records.store.list(keys.log(name)))):
        ref = VersionRef(model=name, number=keys.number_of(key))
        yield _there(key, log.entry_from(records, ref))


def _move_entry(
    source: Storage, target: Storage, entry: Entry, facts: dict[int, list[str]], actor: str, tally: _Tally
) -> None:
    there = Records(target.store)
    key = keys.entry(entry.versions[0].ref)
    known = there.read(key, Entry)
    if known is not None and known.to_bytes() != entry.to_bytes():
        raise _clash(key)
    stones = {version.number: keys.fact(version.ref, Tombstone.kind) for version in entry.versions}
    deleted = {number for number, stone in stones.items() if source.store.get(stone) is not None}
    for version in entry.versions if known is None else ():
        if version.number in deleted:
            # without its bytes it must not be seen as one that is alive
            _move_fact(source, target, stones[version.number], True, tally)
        else:
            _copy(source, target, version.output, version.source.size, tally)
    if known is None:
        if write_entry(there, entry, by=actor).to_bytes() != entry.to_bytes():
            raise _clash(key)
        tally.records += 1
        tally.versions += len(entry.versions)
    for number in stones:
        for fact in facts.get(number, ()):
            if known is not None or fact not in stones.values():
                _move_fact(source, target, fact, number in deleted, tally)


def _move_fact(source: Storage, target: Storage, key: str, deleted: bool, tally: _Tally) -> None:
    kind = key.rpartition("/")[2].removesuffix(".json")
    if "/decisions/" in key:
        fact: Record = _read(Records(source.store), key, Decision)
    elif kind == Tombstone.kind:
        fact = _read(Records(source.store), key, Tombstone)
    elif kind in FACTS:
        fact = _read(Records(source.store), key, FACTS[kind])
    else:
        raise Refused(f"{key} was not written by Sluice: remove it from the bucket.")
    if isinstance(fact, Artifact) and not deleted:
        _copy(source, target, keys.blob(fact.blob), fact.size, tally)
    _write(Records(target.store), key, fact, tally)


def _move_alias(there: Records, key: str, alias: Alias, actor: str, tally: _Tally) -> None:
    """Bring an alias up to what it is at home; one that went its own way there is left alone."""
    _check_place(key, keys.alias(alias.model, alias.name))
    token = alias.moves[-1].token

    def event() -> Event:
        kind = EventKind.ALIASED
        at = there.now()
        return Event(kind=kind, model=alias.model, number=alias.number, alias=alias.name, at=at, by=actor, token=token)

    def change(before: Alias | None) -> Alias:
        if before is None or before == alias:
            return before or alias
        last = before.moves[-1]
        if not any(move.token == last.token for move in alias.moves) and alias.archived <= before.archived:
            raise Conflict(f"{key} has moved on its own in the other bucket: set it there by hand.")
        return alias

    known = there.read(key, Alias)
    if known == alias:
        return
    telling(there, event, lambda: there.change(key, Alias, change))
    tally.records += 1


def _copy(source: Storage, target: Storage, key: str, size: int, tally: _Tally) -> None:
    if not key:
        return
    there = target.outputs.size(key) if _BYTES.fullmatch(key) else -1
    if there == size:
        return
    if there is not None:
        raise Refused(f"{key} is not for the bytes of this model: restore its records from a copy.")
    if source.outputs.size(key) not in (None, size):
        raise _other_size(key, size)
    target.bytes.bring(source.bytes, key)
    if target.outputs.size(key) != size:
        raise _other_size(key, size)
    tally.copies += 1
    tally.size += size


def _read(records: Records, key: str, kind: type[R]) -> R:
    return _there(key, records.read(key, kind))


def _there(key: str, found: R | None) -> R:
    if found is None:
        raise NotFound(f"{key} was listed and is gone: restore the object from a copy.")
    return found


def _check_place(key: str, expected: str) -> None:
    if key != expected:
        raise Refused(f"{key} is the record of {expected}: restore the object from a copy.")


def _other_size(key: str, size: int) -> NotFound:
    return NotFound(f"{key} has not the {size} bytes that are recorded of it: run `sluice verify` where it is.")


def _write(there: Records, key: str, record: Record, tally: _Tally) -> None:
    if there.create(key, record).to_bytes() != record.to_bytes():
        raise _clash(key)
    tally.records += 1


def _clash(key: str) -> Conflict:
    return Conflict(f"{key} is another one in the other bucket: move the model to a bucket that has none of its name.")
