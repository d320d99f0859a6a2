"""What happened, in the order of its keys: `events/<time>.<token>.<model>.<versions>.<kind>.json`.

An event is written before what it tells of, and counts only where that came about, which its token or its object
shows. So nothing that was acknowledged is untold, whoever is killed when. Writers' clocks differ and writes take
time: a reader looks again at the last minute, and so hears every event at least once (`OVERLAP`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from registry import keys, log
from registry.changes import Alias, Decision, Event, EventKind
from registry.errors import InvalidInput
from registry.records import Records

T = TypeVar("T")

OVERLAP = timedelta(seconds=60)
"""How far writers' clocks, and the time between an event and what it tells of, may differ unnoticed."""
_LATE = OVERLAP / 2
_READERS = 8


class Happened(NamedTuple):
    """An event as a reader hears it."""

    id: str
    """Names what happened: whoever hears of it twice knows it by this."""
    at: str
    """The event's place in the order of keys."""
    cursor: str
    """Where to go on after it; up to a minute back, since an earlier event may still come."""
    event: Event


class Page(NamedTuple):
    """Some events in order, and where to go on."""

    events: tuple[Happened, ...]
    cursor: str


def telling(records: Records, event: Callable[[], Event], act: Callable[[], T]) -> T:
    """Write the event, then do what it tells of; where that took so long that readers have passed, tell once more."""
    before = tell(records, event())
    done = act()
    if records.now() - before > _LATE:
        tell(records, event())
    return done


def tell(records: Records, event: Event) -> datetime:
    """Write an event, and give the time under which readers find it."""
    records.create(_key(event), event)
    return event.at


def _key(event: Event) -> str:
    key = keys.EventKey(
        time=keys.event_time(event.at),
        token=event.token,
        model=event.model,
        first=event.number or 0,
        last=event.last or event.number or 0,
        kind=event.fact or event.kind.value,
    )
    return str(key)


def read(records: Records, after: str = "", *, limit: int = 1_000) -> Page:
    """Events after a cursor, at most `limit` of them; "" begins with the oldest.

    One request for each thousand keys, and two for each event.

    Raises:
        InvalidInput: no such cursor.
    """
    check_cursor(after)
    horizon = keys.EVENTS + keys.event_time(records.now() - OVERLAP)
    start = keys.EVENTS + after if after else keys.EVENTS
    listed = [key for key in records.store.list(keys.EVENTS, after=start, limit=limit) if keys.EventKey.parse(key)]
    with ThreadPoolExecutor(_READERS) as readers:
        found = list(readers.map(lambda key: _happened(records, key), listed))
    events = []
    cursor = start
    for key, told in zip(listed, found, strict=True):
        cursor = max(cursor, min(key, horizon))
        for event in told:
            place, resume = key.removeprefix(keys.EVENTS), cursor.removeprefix(keys.EVENTS)
            events.append(Happened(f"{event.token}.{event.number or 0}", place, resume, event))
    return Page(tuple(events), cursor.removeprefix(keys.EVENTS))


def recent(records: Records) -> str:
    """A cursor after which whatever is still to come will be found, and what came in the last minute."""
    return keys.event_time(records.now() - OVERLAP)


def check_cursor(cursor: str) -> str:
    """Return `cursor` where it can be one.

    Raises:
        InvalidInput: it cannot.
    """
    if len(cursor) > 300 or not cursor.isascii() or not cursor.isprintable() or "/" in cursor:
        raise InvalidInput(f"{cursor[:80]!r} is not a cursor: give one that came with an event, or none.")
    return cursor


def unnamed(cursor: str) -> str:
    """A cursor for the same place that does not tell which model's event lies there."""
    key = keys.EventKey.parse(keys.EVENTS + cursor)
    return cursor if key is None else f"{key.time}.{key.token}~"  # after a dot, and so after all that goes on with one


def keys_after(records: Records, after: str, pages: int | None) -> list[keys.EventKey] | None:
    """What the keys tell of events after a moment, as `keys.event_time` writes it; None where `pages` do not hold them.

    One request a page of 1,000; None for `pages` is as many as it takes.
    """
    limit = None if pages is None else pages * 1_000
    listed = list(records.store.list(keys.EVENTS, after=keys.EVENTS + after, limit=limit))
    if len(listed) == limit:
        return None
    return [key for key in map(keys.EventKey.parse, listed) if key is not None]


def _happened(records: Records, key: str) -> tuple[Event, ...]:
    """What the event under the key tells: nothing where it did not come about, one event for each version it made."""
    event = records.read(key, Event)
    if event is None or _key(event) != key or (event.number is None and event.kind in _OF_VERSIONS):
        return ()
    if event.kind is not EventKind.REGISTERED:
        return (event,) if _PROOFS[event.kind](records, event) else ()
    entry = log.entry_from(records, event.refs[0])
    if entry is None or entry.token != event.token:
        return ()
    return tuple(
        event.model_copy(update={"number": version.number, "last": None, "by": version.created_by})
        for version in entry.versions
    )


def _recorded(records: Records, event: Event) -> bool:
    return event.fact is not None and records.store.get(keys.fact(event.refs[0], event.fact)) is not None


def _aliased(records: Records, event: Event) -> bool:
    alias = records.read(keys.alias(event.model, event.alias), Alias) if event.alias else None
    if alias is None:
        return False
    # a move that was archived since has left nothing to ask by; it is older than a hundred moves that came about
    archived = alias.archived > 0 and event.at <= alias.moves[0].at
    return archived or any(move.token == event.token for move in alias.moves)


def _decided(records: Records, event: Event) -> bool:
    decision = records.read(keys.decision(event.refs[0], event.sequence or 1), Decision)
    return decision is not None and decision.token == event.token


def _deleted(records: Records, event: Event) -> bool:
    return all(records.store.get(keys.fact(ref, "deleted")) is not None for ref in event.refs)


def _edited(records: Records, event: Event) -> bool:
    return records.store.get(keys.model(event.model)) is not None


_OF_VERSIONS = {EventKind.REGISTERED, EventKind.RECORDED, EventKind.DECIDED, EventKind.DELETED}
_PROOFS: dict[EventKind, Callable[[Records, Event], bool]] = {
    EventKind.RECORDED: _recorded,
    EventKind.ALIASED: _aliased,
    EventKind.DECIDED: _decided,
    EventKind.DELETED: _deleted,
    EventKind.EDITED: _edited,
}


def follow(records: Records, after: str = "", *, wait: Callable[[], bool]) -> Iterator[Happened]:
    """Events after a cursor as they come, each once; `wait` waits a little, and says whether to go on."""
    heard: dict[str, str] = {}
    cursor = after
    while True:
        page = read(records, cursor)
        fresh = [one for one in page.events if one.id not in heard]
        yield from fresh
        heard |= {one.id: one.at for one in fresh}
        # what no later page can hold need not be remembered
        heard = {name: at for name, at in heard.items() if at > page.cursor}
        moved, cursor = page.cursor != cursor, page.cursor
        if not (fresh and moved) and not wait():
            return
