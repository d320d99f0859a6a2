"""What people say of a model, and deleting a model or a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pydantic import ValidationError

from registry import aliases, keys, log
from registry.changes import Deletion, Event, EventKind, Model, ModelEdit
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from registry.eventlog import telling
from registry.facts import Tombstone
from registry.names import VersionRef
from registry.records import Records
from registry.roles import Role

Uses = Callable[[str], Mapping[int, Sequence[str]]]
"""For a model, by version, which releases name it."""


def get(records: Records, name: str) -> Model:
    """The model's record; two requests.

    Raises:
        NotFound: there is no such model, or it was deleted.
    """
    model = records.read(keys.model(name), Model)
    if model is None or (model.deleted and not _lives_on(records, model.deleted, name)):
        raise NotFound(f"There is no model {name}: `sluice models` lists them.")
    return model


def _lives_on(records: Records, deletion: Deletion, name: str) -> bool:
    entry = log.newest(records, name)
    return entry is not None and entry.last > deletion.upto


def edit(
    records: Records,
    name: str,
    changes: ModelEdit,
    *,
    actor: str,
    role: Role = Role.ADMIN,
    expect: Model | None = None,
) -> Model:
    """Change what is said of a model.

    Raises:
        NotFound: there is no such model.
        Refused: protecting an alias, or no longer, needs an admin.
        InvalidInput: more tags or links than there may be.
        Conflict: it is not what was expected.
    """
    there = get(records, name)
    _check_expected(there, expect)
    if changes.protected and not role.allows(Role.ADMIN):
        raise Refused("Which aliases are protected is an admin's to say: ask one, or act as one.")
    if _edited(there, changes) == there:
        return there
    token = records.token()

    def change(before: Model | None) -> Model:
        assert before is not None  # noqa: S101  # models are never removed
        _check_expected(before, expect)
        after = _edited(before, changes)
        if after == before:
            return before
        return after.model_copy(update={"changed_at": records.now(), "changed_by": actor})

    def event() -> Event:
        return Event(kind=EventKind.EDITED, model=name, at=records.now(), by=actor, token=token)

    return telling(records, event, lambda: records.change(keys.model(name), Model, change))


def _check_expected(there: Model, expect: Model | None) -> None:
    if expect is not None and there != expect:
        raise Conflict(f"{there.name} was changed since you read it: read it again and retry.")


def _edited(model: Model, changes: ModelEdit) -> Model:
    said: dict[str, object] = {
        "description": model.description if changes.description is None else changes.description,
        "owner": model.owner if changes.owner is None else changes.owner,
        "tags": _merged(model.tags, changes.tags),
        "links": _merged(model.links, changes.links),
        "protected": _merged(model.protected, changes.protected),
    }
    try:
        return Model.model_validate({**model.model_dump(), **said})
    except ValidationError as error:
        first = error.errors()[0]
        where = first["loc"][0]  # no further: a key may be anything
        raise InvalidInput(f"The {where} of {model.name} would not fit ({first['msg']}): say less.") from error


def _merged(before: Mapping[str, object], edit: Mapping[str, object]) -> dict[str, object]:
    merged = {**before, **edit}
    return {name: value for name, value in sorted(merged.items()) if value is not None}


def delete_version(records: Records, ref: VersionRef, uses: Uses, *, actor: str, reason: str = "") -> Tombstone:
    """Delete a version: its number stays taken and its record stays readable, its bytes are collected later.

    Deleting it again changes nothing.

    Raises:
        NotFound: there is no such version.
        Refused: a release or an alias names it.
    """
    log.version(records, ref)
    key = keys.fact(ref, Tombstone.kind)
    stone = records.read(key, Tombstone)
    if stone is None:
        _check_unused(records, ref, uses(ref.model).get(ref.number, ()))
        stone = _bury(records, ref, actor, reason)
    _leave(records, ref.model, actor)
    return stone


def _leave(records: Records, model: str, actor: str) -> None:
    for alias in aliases.every(records, model):
        aliases.leave_deleted(records, alias, actor)


def _bury(records: Records, ref: VersionRef, actor: str, reason: str) -> Tombstone:
    token = records.token()

    def event() -> Event:
        at = records.now()
        return Event(kind=EventKind.DELETED, model=ref.model, number=ref.number, at=at, by=actor, token=token)

    stone = Tombstone(reason=reason, at=records.now(), by=actor)
    return telling(records, event, lambda: records.create(keys.fact(ref, Tombstone.kind), stone))


def _check_unused(records: Records, ref: VersionRef, releases: Sequence[str]) -> None:
    if releases:
        raise Refused(f"{ref} is released to {', '.join(releases)}: roll back or promote another version first.")
    named = [alias.name for alias in aliases.every(records, ref.model) if alias.number == ref.number]
    if named:
        raise Refused(f"{ref} is {ref.model}@{named[0]}: point the alias at another version first.")


def delete(records: Records, name: str, uses: Uses, *, actor: str, reason: str = "") -> Deletion:
    """Delete a model and all its versions. Its name may come back, its numbers go on from where they were.

    Broken off, it is finished by deleting again.

    Raises:
        NotFound: there is no such model.
        Refused: a release or an alias names one of its versions; nothing is deleted then.
    """
    get(records, name)
    used = uses(name)
    numbers = [version.number for entry in log.entries(records, name) for version in entry.versions]
    live = [ref for ref in (VersionRef(model=name, number=n) for n in numbers) if not is_deleted(records, ref)]
    for ref in live:
        if used.get(ref.number):
            _check_unused(records, ref, used[ref.number])
    named = next(aliases.every(records, name), None)
    if named is not None:
        raise Refused(f"{name}@{named.name} names version {named.number}: remove the aliases of {name} first.")
    for ref in live:
        _bury(records, ref, actor, reason)
    _leave(records, name, actor)
    deletion = Deletion(upto=max(numbers, default=0), at=records.now(), by=actor, reason=reason)
    token = records.token()

    def change(before: Model | None) -> Model:
        assert before is not None  # noqa: S101  # models are never removed
        return before.model_copy(update={"deleted": deletion})

    def event() -> Event:
        return Event(kind=EventKind.EDITED, model=name, at=records.now(), by=actor, token=token)

    telling(records, event, lambda: records.change(keys.model(name), Model, change))
    return deletion


def is_deleted(records: Records, ref: VersionRef) -> bool:
    """Whether the version was deleted; one request."""
    return records.store.get(keys.fact(ref, Tombstone.kind)) is not None
