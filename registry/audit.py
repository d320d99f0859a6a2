"""Looks a registry over from end to end: everything that must hold of it, and the caches against the truth."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import NonNegativeInt

from registry import aliases, keys, log, models, rows
from registry.catalog import Catalog
from registry.errors import SluiceError
from registry.facts import FACTS, Entry, Record, SourceClaim, Tombstone, Version
from registry.feed import Feed
from registry.index import Index
from registry.names import VersionRef
from registry.progress import Progress
from registry.records import Records
from registry.storage import Storage


class Audit(Record):
    """What was looked at, and what is wrong, one sentence each."""

    models: NonNegativeInt
    versions: NonNegativeInt
    findings: tuple[str, ...]


def audit(storage: Storage, *, model: str | None = None, progress: Progress) -> Audit:
    """Look at one model, or at all and at their catalog.

    Numbers are dense and unique; no source has two versions; each claim is below its versions; facts can be read and
    belong to a version; aliases name what is there; the bytes of a version have its size; the index and the catalog
    say what the records say. A request or two for each object.

    Raises:
        Unavailable: the store does not answer.
    """
    records = Records(storage.store)
    feed = Feed(records)
    names = [model] if model else list(log.models(records))
    findings: list[str] = []
    count = 0
    for name in names:
        versions, found = _model(storage, records, Index(records, feed), name)
        count += versions
        findings += found
        progress.fact(f"{name}: {versions} versions, {len(found)} findings")
    if model is None:
        findings += _catalog(records, feed)
    return Audit(models=len(names), versions=count, findings=tuple(findings))


def _model(storage: Storage, records: Records, index: Index, name: str) -> tuple[int, list[str]]:
    try:
        entries = [log.entry_from(records, _first(key)) for key in reversed(list(storage.store.list(keys.log(name))))]
        there = [entry for entry in entries if entry is not None]
        versions = [version for entry in there for version in entry.versions]
        findings = [
            *_numbers(name, there),
            *_facts(records, name, len(versions)),
            *_sources(records, versions),
            *_bytes(storage, records, versions),
            *_aliases(records, name, len(versions)),
            *_index(records, index, name, len(versions)),
        ]
    except SluiceError as error:
        if error.exit_code == 6:  # nobody answers, which says nothing of the registry
            raise
        return 0, [str(error)]
    return len(versions), findings


def _first(key: str) -> VersionRef:
    return VersionRef(model=key.split("/")[1], number=keys.number_of(key))


def _numbers(name: str, entries: list[Entry]) -> Iterator[str]:
    expected = 1
    for entry in entries:
        first = entry.versions[0].number
        if first != expected:
            yield f"{name}: version {first} follows {expected - 1}."
        expected = entry.last + 1


def _sources(records: Records, versions: list[Version]) -> Iterator[str]:
    live: dict[str, int] = {}
    for version in versions:
        identity = version.source.identity
        claim = records.read(keys.source(version.model, identity), SourceClaim)
        if claim is None or claim.after >= version.number:
            yield f"{version.ref}: its source is claimed from {claim.after + 1 if claim else 'nowhere'} on."
        if models.is_deleted(records, version.ref):
            continue
        if identity in live:
            yield f"{version.ref} has the source of {version.model}@{live[identity]}."
        live[identity] = version.number


def _facts(records: Records, name: str, last: int) -> Iterator[str]:
    for key in records.store.list(keys.versions(name)):
        kind = key.rpartition("/")[2].removesuffix(".json")
        if keys.number_of(key) > last:
            yield f"{key} is about no version."
        if kind in FACTS:
            records.read(key, FACTS[kind])
        elif kind == Tombstone.kind:
            records.read(key, Tombstone)


def _bytes(storage: Storage, records: Records, versions: list[Version]) -> Iterator[str]:
    for version in versions:
        if version.output and not models.is_deleted(records, version.ref):
            size = storage.outputs.size(version.output)
            if size != version.source.size:
                yield f"{version.ref}: {version.output} has {size} bytes, not {version.source.size}."


def _aliases(records: Records, name: str, last: int) -> Iterator[str]:
    for alias in aliases.every(records, name):
        number = alias.number or 0
        if number > last:
            yield f"{name}@{alias.name} names version {number}, which does not exist."
        elif models.is_deleted(records, VersionRef(model=name, number=number)):
            yield f"{name}@{alias.name} names version {number}, which was deleted."


def _index(records: Records, index: Index, name: str, last: int) -> Iterator[str]:
    if last == 0:
        return
    truth = {row.number: row.to_line() for row in rows.of_range(records, name, 1, last)}
    told = {rows.Row.model_validate_json(line).number: line for line in index.lines(name, deleted=True)}
    for number in sorted(truth.keys() | told.keys()):
        if truth.get(number) != told.get(number):
            yield f"{name}@{number}: the index says something else than the records; `sluice rebuild {name}` mends it."


def _catalog(records: Records, feed: Feed) -> Iterator[str]:
    told = {summary.model.name: summary for summary in Catalog(records, feed).models()}
    fresh = Catalog(records, feed)
    truth = {summary.model.name: summary for summary in fresh.anew()}
    for name in sorted(truth.keys() | told.keys()):
        if truth.get(name) != told.get(name):
            yield f"{name}: the catalog says something else than the records; `sluice rebuild` mends it."
