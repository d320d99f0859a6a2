"""Aliases: names for versions that move by compare-and-swap and keep their whole history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from registry import keys
from registry.changes import Alias, Event, EventKind, Model, Move, Moves
from registry.errors import Conflict, NotFound, Refused
from registry.eventlog import telling
from registry.facts import Tombstone
from registry.log import version
from registry.names import VersionRef
from registry.records import Records
from registry.roles import Role

_KEPT = 200
"""Moves in the alias's own record; older ones are put away by the hundred."""
_ARCHIVED = 100


def every(records: Records, model: str) -> Iterator[Alias]:
    """The aliases of a model that name a version, in order of name."""
    for key in records.store.list(keys.aliases(model)):
        alias = records.read(key, Alias)
        if alias is not None and alias.number is not None:
            yield alias


def get(records: Records, model: str, name: str) -> Alias:
    """One alias; one request.

    Raises:
        NotFound: there is none of that name, or it was removed.
    """
    alias = records.read(keys.alias(model, name), Alias)
    if alias is None or alias.number is None:
        raise NotFound(f"{model} has no alias {name}: `sluice aliases {model}` lists those there are.")
    return alias


def move(
    records: Records,
    model: str,
    name: str,
    number: int | None,
    *,
    actor: str,
    reason: str = "",
    expect: int | None = None,
    role: Role = Role.ADMIN,
    token: str | None = None,
) -> Alias:
    """Point an alias at a version, or with None at nothing.

    `expect` is the version that it must name now, 0 stands for none. Giving the same `token` again gives the same
    answer and moves nothing.

    Raises:
        NotFound: there is no such version, or it was deleted; or no such alias, where it is to be removed.
        Conflict: the alias does not name the expected version; or the token was another move's.
        Refused: the alias is protected and needs a higher role.
    """
    key = keys.alias(model, name)
    check_role(records, model, name, role)
    if number is not None:
        _check_live(records, VersionRef(model=model, number=number))
    fresh = token or records.token()

    def change(before: Alias | None) -> Alias:
        if before is not None and (done := _answered(before, fresh, number)):
            return done
        check_expected(before, expect, f"{model}@{name}")
        return _moved(records, before, model, name, number, actor, reason, fresh)

    def event() -> Event:
        kind = EventKind.ALIASED
        return Event(kind=kind, model=model, number=number, alias=name, at=records.now(), by=actor, token=fresh)

    before = records.read(key, Alias)
    if before is not None:
        if (done := _answered(before, fresh, number)) is not None:
            return done
        check_expected(before, expect, f"{model}@{name}")
        if before.number == number and number is not None and token is None:
            return before
    if number is None and (before is None or before.number is None):
        raise NotFound(f"{model} has no alias {name}: `sluice aliases {model}` lists those there are.")
    after = telling(records, event, lambda: records.change(key, Alias, change))
    if after.moves[-1].token == fresh and leave_deleted(records, after, actor) is not after:
        raise NotFound(f"{model}@{number} was deleted at the same time: choose another version.")
    return after


def _answered(alias: Alias, token: str, number: int | None) -> Alias | None:
    """The alias, where the move with this token was made; None where it was not."""
    there = next((move for move in reversed(alias.moves) if move.token == token), None)
    if there is not None and there.number != number:
        raise Conflict(f"This request's key was used for another move of {alias.model}@{alias.name}: use a new one.")
    return alias if there is not None else None


def check_expected(alias: Alias | None, expect: int | None, name: str) -> None:
    """Let an alias pass that names what is expected: None expects nothing in particular, 0 that it names nothing.

    Raises:
        Conflict: it names something else.
    """
    now = 0 if alias is None or alias.number is None else alias.number
    if expect is not None and expect != now:
        names = f"version {now}" if now else "no version"
        raise Conflict(f"{name} names {names}, not {expect or 'none'}: look at it again, then give --expect {now}.")


def check_role(records: Records, model: str, name: str, role: Role) -> None:
    """Let a role pass that may move this alias; one request.

    Raises:
        NotFound: there is no such model.
        Refused: it may not.
    """
    record = records.read(keys.model(model), Model)
    if record is None:
        raise NotFound(f"There is no model {model}: `sluice models` lists them.")
    needed = record.protected.get(name, Role.RELEASER)
    if not role.allows(needed):
        raise Refused(f"{model}@{name} is moved by {needed.value}s only: ask one, or act as one.")


def _check_live(records: Records, ref: VersionRef) -> None:
    version(records, ref)
    if _is_deleted(records, ref):
        raise NotFound(f"{ref} was deleted: choose another version.")


def _is_deleted(records: Records, ref: VersionRef) -> bool:
    return records.store.get(keys.fact(ref, Tombstone.kind)) is not None


def _moved(
    records: Records,
    before: Alias | None,
    model: str,
    name: str,
    number: int | None,
    actor: str,
    reason: str,
    token: str,
) -> Alias:
    previous = before.number if before else None
    at = max(records.now(), before.moves[-1].at) if before else records.now()
    made = Move(number=number, previous=previous, at=at, by=actor, reason=reason, token=token)
    if before is None:
        return Alias(model=model, name=name, moves=(made,))
    if len(before.moves) < _KEPT:
        return before.model_copy(update={"moves": (*before.moves, made)})
    old = Moves(first=before.archived, moves=before.moves[:_ARCHIVED])
    # written before the record lets go of them; the same bytes whoever writes them
    records.create(keys.archive(model, name, before.archived), old)
    kept = (*before.moves[_ARCHIVED:], made)
    return before.model_copy(update={"archived": before.archived + _ARCHIVED, "moves": kept})


def leave_deleted(records: Records, alias: Alias, actor: str) -> Alias:
    """Move an alias that names a deleted version back to the one before, or to nothing where that was deleted too.

    Whoever moves an alias does this after the move, and whoever deletes a version after the tombstone: so of two that
    do it at once, one at least sees the other.
    """
    while alias.number is not None and _is_deleted(records, VersionRef(model=alias.model, number=alias.number)):
        alias = _moved_back(records, alias, alias.number, actor)
    return alias


def _moved_back(records: Records, alias: Alias, number: int, actor: str) -> Alias:
    model, name, fresh = alias.model, alias.name, records.token()
    former = next((move.number for move in reversed(alias.moves) if move.number != number), None)
    if former is not None and _is_deleted(records, VersionRef(model=model, number=former)):
        former = None

    def back(before: Alias | None) -> Alias:
        assert before is not None  # noqa: S101  # aliases are never removed
        if before.number != number:
            return before
        reason = f"{model}@{number} was deleted at the same time"
        return _moved(records, before, model, name, former, actor, reason, fresh)

    def event() -> Event:
        kind = EventKind.ALIASED
        return Event(kind=kind, model=model, number=former, alias=name, at=records.now(), by=actor, token=fresh)

    return telling(records, event, lambda: records.change(keys.alias(model, name), Alias, back))


def history(records: Records, model: str, name: str) -> tuple[Move, ...]:
    """Every move of an alias, newest first; one request, and one for each hundred moves after the first two hundred.

    Raises:
        NotFound: there never was such an alias.
    """
    alias = records.read(keys.alias(model, name), Alias)
    if alias is None:
        raise NotFound(f"{model} never had an alias {name}: `sluice aliases {model}` lists those there are.")
    moves = list(alias.moves)
    for first in range(alias.archived - _ARCHIVED, -1, -_ARCHIVED):
        old = records.read(keys.archive(model, name, first), Moves)
        if old is None:
            raise Refused(f"{keys.archive(model, name, first)} is gone: restore the object from a copy.")
        moves = [*old.moves, *moves]
    return tuple(reversed(moves))


def at(records: Records, model: str, name: str, moment: datetime) -> Move:
    """The move that was in force at a moment.

    Raises:
        NotFound: the alias named no version then.
    """
    found = next((move for move in history(records, model, name) if move.at <= moment), None)
    if found is None or found.number is None:
        raise NotFound(f"{model}@{name} named no version at {moment:%Y-%m-%d %H:%M:%S %Z}: see its history.")
    return found
