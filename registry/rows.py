"""A version as a list shows it: one line of JSON, made of the log and of which facts there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from pydantic import NonNegativeInt

from registry import decisions, keys, log
from registry.changes import Approval
from registry.facts import Record, SourceKind, Version, state_of
from registry.limits import Actor, Line, Metrics, Tags
from registry.names import ModelName, VersionNumber, VersionRef
from registry.records import Records


class Row(Record):
    """A version as a list shows it."""

    state: str
    """registered, scanned, packaged, built or deleted. The first field, so that a line's beginning tells of it."""
    model: ModelName
    number: VersionNumber
    approval: Approval
    facts: tuple[str, ...]
    """Which kinds of facts there are, in order of name."""
    source: SourceKind
    name: Line
    """The training job, or where else it comes from."""
    uri: Line
    size: NonNegativeInt
    metrics: Metrics
    tags: Tags
    git_commit: Line
    inputs: tuple[Line, ...]
    created_at: datetime
    created_by: Actor

    @property
    def ref(self) -> VersionRef:
        """How the version is written: `fraud@7`."""
        return VersionRef(model=self.model, number=self.number)

    def to_line(self) -> bytes:
        """The row without a line feed; equal rows are equal bytes."""
        return self.model_dump_json().encode()


def is_live(line: bytes) -> bool:
    """Whether the row of this line is of a version that was not deleted."""
    return not line.startswith(b'{"state":"deleted"')


class _Known(NamedTuple):
    """What the keys in a version's folder tell."""

    kinds: Collection[str]
    decision: str | None
    """Key of the last decision."""


def row(records: Records, version: Version, known: _Known) -> Row:
    """The row of a version; a request where somebody decided on it."""
    decided = decisions.read(records, known.decision) if known.decision else None
    training = version.source.training
    return Row(
        state=state_of(known.kinds),
        model=version.model,
        number=version.number,
        approval=decided.approval if decided else Approval.PENDING,
        facts=tuple(sorted(known.kinds)),
        source=version.source.kind,
        name=version.source.name,
        uri=version.source.uri,
        size=version.source.size,
        metrics=version.metrics,
        tags=version.tags,
        git_commit=version.git_commit,
        inputs=tuple(channel.uri for channel in training.inputs) if training else (),
        created_at=version.created_at,
        created_by=version.created_by,
    )


def of_numbers(records: Records, model: str, numbers: Iterable[int]) -> Iterator[Row]:
    """Rows of single versions, for which the log has entries; two requests each, fewer for neighbours."""
    entry = None
    for number in sorted(numbers):
        ref = VersionRef(model=model, number=number)
        if entry is None or not entry.versions[0].number <= number <= entry.last:
            entry = log.entry_of(records, ref)
        if entry is not None:
            known = _known(records.store.list(keys.version_folder(ref))).get(number, _NOTHING)
            yield row(records, entry.versions[number - entry.versions[0].number], known)


def of_range(records: Records, model: str, first: int, last: int) -> Iterator[Row]:
    """Rows of all versions from `first` to `last`, rising; a request an entry, and one for each thousand facts."""
    above = keys.version_folder(VersionRef(model=model, number=last + 1)) + "\x7f"
    below = keys.version_folder(VersionRef(model=model, number=first)) + "\x7f"
    known = _known(_until(records.store.list(keys.versions(model), after=above), below))
    ref = VersionRef(model=model, number=first)
    while ref.number <= last and (entry := log.entry_of(records, ref)):
        for version in entry.versions:
            if first <= version.number <= last:
                yield row(records, version, known.get(version.number, _NOTHING))
        ref = VersionRef(model=model, number=entry.last + 1)


_NOTHING = _Known((), None)


def _until(listed: Iterable[str], end: str) -> Iterator[str]:
    for key in listed:
        if key > end:
            return
        yield key


def _known(listed: Iterable[str]) -> Mapping[int, _Known]:
    kinds: dict[int, list[str]] = {}
    decided: dict[int, str] = {}
    for key in listed:
        number = keys.number_of(key)
        name = key.rpartition("/")[2].removesuffix(".json")
        if "/decisions/" in key:
            decided.setdefault(number, key)
        else:
            kinds.setdefault(number, []).append(name)
    return {number: _Known(kinds.get(number, ()), decided.get(number)) for number in kinds.keys() | decided.keys()}
