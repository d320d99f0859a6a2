"""A model's log: the records of its versions, in entries of one version or of several that came at the same moment.

An entry is named by its first version, so that two writers who saw the same last number meet on one key.
"""

from __future__ import annotations

from collections.abc import Iterator

from registry import keys
from registry.errors import NotFound, Refused
from registry.facts import ENTRY_MAX, Entry, Version
from registry.names import VersionRef
from registry.records import Records


def models(records: Records) -> Iterator[str]:
    """Names of the models there ever were; a request for each thousand. Others' folders are passed by."""
    for folder in records.store.folders("models/"):
        name = keys.model_of(folder)
        if name is not None:
            yield name


def newest(records: Records, model: str) -> Entry | None:
    """The last entry, or None where nothing was ever registered; two requests, one where there is none."""
    key = next(records.store.list(keys.log(model), limit=1), None)
    return None if key is None else _listed(records, key)


def entry_from(records: Records, ref: VersionRef) -> Entry | None:
    """The entry that begins with this version, or None; one request."""
    return _checked(keys.entry(ref), records.read(keys.entry(ref), Entry), ref)


def entry_of(records: Records, ref: VersionRef) -> Entry | None:
    """The entry that holds this version, or None; one request, three where the entry begins with an earlier one."""
    entry = entry_from(records, ref)
    if entry is not None:
        return entry
    # the first key at or after this one, in falling numbers, is that of the entry before
    key = next(records.store.list(keys.log(ref.model), after=keys.entry(ref), limit=1), None)
    if key is None or keys.number_of(key) + ENTRY_MAX <= ref.number:
        return None
    entry = _listed(records, key)
    return entry if entry.last >= ref.number else None


def version(records: Records, ref: VersionRef) -> Version:
    """One version's record.

    Raises:
        NotFound: there is no such version.
        Refused: the object holds another.
    """
    entry = entry_of(records, ref)
    if entry is None:
        raise NotFound(f"There is no version {ref}: `sluice versions {ref.model}` lists those there are.")
    return entry.versions[ref.number - entry.versions[0].number]


def entries(records: Records, model: str, *, after: str = "") -> Iterator[Entry]:
    """All entries, newest first; one request each, and one for each thousand."""
    for key in records.store.list(keys.log(model), after=after):
        yield _listed(records, key)


def _listed(records: Records, key: str) -> Entry:
    ref = VersionRef(model=key.split("/")[1], number=keys.number_of(key))
    entry = _checked(key, records.read(key, Entry), ref)
    if entry is None:
        raise NotFound(f"{key} was listed and is gone: restore the object from a copy.")
    return entry


def _checked(key: str, entry: Entry | None, first: VersionRef) -> Entry | None:
    if entry is not None:
        numbers = [one.number for one in entry.versions]
        expected = list(range(first.number, first.number + len(numbers)))
        if numbers != expected or any(one.model != first.model for one in entry.versions):
            raise Refused(f"{key} is the record of {entry.versions[0].ref}: restore the object from a copy.")
    return entry
