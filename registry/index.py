"""The index: a cache of what a list of versions shows, in objects of a thousand versions, `models/<model>/index/`.

Never the truth. The log tells how far it must go and the events tell what may have changed since it was written, so
a wrong or missing one costs requests and nothing else. An object is lines: a head, then a row for each version, rising.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from threading import Lock, RLock
from typing import Literal, NamedTuple

from pydantic import ValidationError

from registry import keys, log, rows
from registry.changes import EventKind
from registry.errors import SluiceError
from registry.eventlog import OVERLAP, keys_after
from registry.facts import FACTS, Record, Tombstone
from registry.feed import Feed
from registry.names import Digest, VersionRef
from registry.records import Records

OLDEST = timedelta(days=7)
"""A cache that is older is made anew, since events may expire: they must be kept for as long."""
SEGMENT = 1_000
"""Versions in one object."""
_PAGES = 5
"""Thousands of events that are looked through for what happened to a model; where there are more, it is read anew."""
_WORTH = 16
"""Rows that were made anew before the object is written again."""


class Head(Record):
    """The first line of an object."""

    format: Literal[1] = 1
    cursor: str
    """What happened before this moment, as `keys.event_time` has it, is in the rows."""
    sha256: Digest
    """Of the other lines."""


def packed(cursor: str, lines: Sequence[bytes]) -> bytes:
    """The object that holds these lines."""
    body = b"".join(line + b"\n" for line in lines)
    head = Head(cursor=cursor, sha256=_digest(body))
    return head.model_dump_json().encode() + b"\n" + body


def unpacked(data: bytes, now: datetime) -> tuple[str, list[bytes]] | None:
    """The cursor and the lines of an object; None where it is damaged, too old, or of a later time than now."""
    first, _, body = data.partition(b"\n")
    try:
        head = Head.model_validate_json(first)
    except ValidationError:
        return None
    timely = keys.event_time(now - OLDEST) <= head.cursor <= keys.event_time(now)
    return (head.cursor, body.splitlines()) if timely and head.sha256 == _digest(body) else None


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


class _Segment:
    """The rows of up to a thousand versions, in memory."""

    def __init__(self, lines: list[bytes], cursor: str, etag: str | None) -> None:
        self.lines = lines
        self.cursor = cursor
        self.etag = etag
        self.unsaved = 0
        self.dirty: dict[str, keys.EventKey] = {}

    @property
    def size(self) -> int:
        return sum(map(len, self.lines)) + 64 * len(self.lines)


class _Newest(NamedTuple):
    """What the log's newest key was."""

    number: int
    key: str
    fresh: bool
    """Whether it holds until the feed tells of another."""


class Index:
    """Rows of versions. Holds at most `budget` bytes of them."""

    def __init__(self, records: Records, feed: Feed, *, budget: int = 64 << 20) -> None:
        self._records = records
        self._feed = feed
        self._budget = budget
        self._lock = RLock()
        self._segments: OrderedDict[tuple[str, int], _Segment] = OrderedDict()
        self._sizes: dict[tuple[str, int], int] = {}
        self._newest: dict[str, _Newest] = {}
        self._coming: dict[str, keys.EventKey] = {}
        self._hearing = Lock()
        """Held while `_coming` or what is dirty changes: whoever asks the feed tells, with locks of their own."""
        feed.listen(self._hear)

    def lines(
        self, model: str, *, below: int | None = None, deleted: bool = False, last: int | None = None
    ) -> Iterator[bytes]:
        """Rows as lines of JSON, newest first, of versions numbered below `below`.

        Two requests, or none where `last` is what `newest` has just told; one more for a thousand versions that are not
        in memory, and two for each that changed.
        """
        if last is None:
            last = self.newest(model)
        top = last if below is None else min(last, below - 1)
        for number in range((top - 1) // SEGMENT, -1, -1) if top > 0 else ():
            held = self._lines(model, number, last)
            for line in reversed(held[: top - number * SEGMENT]):
                if deleted or rows.is_live(line):
                    yield line

    def rows(
        self, model: str, *, below: int | None = None, deleted: bool = False, last: int | None = None
    ) -> Iterator[rows.Row]:
        """The same, parsed."""
        for line in self.lines(model, below=below, deleted=deleted, last=last):
            yield rows.Row.model_validate_json(line)

    def newest(self, model: str) -> int:
        """The model's highest number, 0 where it has none; no request where an answer is young enough."""
        with self._lock:
            self._feed.poll()
            known = self._newest.get(model)
            if known is not None and known.fresh and model not in self._coming:
                return known.number
            key = next(self._records.store.list(keys.log(model), limit=1), "")
            number = known.number if known is not None and known.key == key else self._last_in(model, key)
            self._newest[model] = _Newest(number, key, fresh=self._feed.max_age > 0)
            settled = keys.event_time(self._records.now() - OVERLAP)
            with self._hearing:
                coming = self._coming.get(model)
                if coming and (number >= coming.last or coming.time < settled):
                    del self._coming[model]
            return number

    def _last_in(self, model: str, key: str) -> int:
        if not key:
            return 0
        ref = VersionRef(model=model, number=keys.number_of(key))
        entry = log.entry_from(self._records, ref)
        return entry.last if entry else ref.number

    def _hear(self, key: keys.EventKey) -> None:
        with self._hearing:
            if key.kind == "registered":
                # it is told of before it is there, so the log is asked until it is
                self._coming[key.model] = max(key, self._coming.get(key.model, key), key=lambda one: one.last)
            elif _shows(key):
                segment = self._segments.get((key.model, (key.first - 1) // SEGMENT))
                if segment is not None:
                    segment.dirty[str(key)] = key

    def _lines(self, model: str, number: int, last: int) -> Sequence[bytes]:
        with self._lock:
            place = (model, number)
            if place in self._segments and self._segments[place].cursor < keys.event_time(self._records.now() - OLDEST):
                del self._segments[place]  # what happened since may have expired
            segment = self._segments.get(place) or self._load(model, number) or self._build(model, number, last)
            self._segments.move_to_end(place)
            self._refresh(model, number, segment, last)
            self._sizes[place] = segment.size
            while sum(self._sizes.values()) > self._budget and len(self._segments) > 1:
                old, _ = self._segments.popitem(last=False)
                self._sizes.pop(old, None)
            return segment.lines

    def _load(self, model: str, number: int) -> _Segment | None:
        stored = self._records.store.get(keys.segment(model, number))
        if stored is None:
            return None
        there = unpacked(stored.data, self._records.now())
        if there is None:
            return None
        cursor, lines = there
        try:
            last = rows.Row.model_validate_json(lines[-1]) if lines else None
        except ValidationError:
            return None
        if last and (last.model, last.number) != (model, number * SEGMENT + len(lines)):
            return None
        segment = _Segment(lines, cursor, stored.etag)
        return segment if self._hold(model, number, segment, _PAGES) else None

    def _hold(self, model: str, number: int, segment: _Segment, pages: int | None) -> bool:
        """Let a segment hear of what happens from now on, and of what happened since it was written.

        False, and it is not held, where that is more than `pages` hold.
        """
        # first of all: what another thread hears from the feed meanwhile is not told again
        self._segments[model, number] = segment
        held = False
        try:
            happened = keys_after(self._records, segment.cursor, pages)
            held = happened is not None
        finally:
            if not held:
                del self._segments[model, number]
        with self._hearing:
            for key in happened or ():
                if key.model == model and _shows(key) and (key.first - 1) // SEGMENT == number:
                    segment.dirty[str(key)] = key
        return held

    def _build(self, model: str, number: int, last: int) -> _Segment:
        begun = keys.event_time(self._records.now() - OVERLAP)
        first = number * SEGMENT + 1
        made = rows.of_range(self._records, model, first, min(last, first + SEGMENT - 1))
        old = self._records.store.get(keys.segment(model, number))
        segment = _Segment([one.to_line() for one in made], begun, old.etag if old else None)
        segment.unsaved = len(segment.lines)
        self._hold(model, number, segment, None)
        return segment

    def _refresh(self, model: str, number: int, segment: _Segment, last: int) -> None:
        first = number * SEGMENT + 1
        end = min(last, first + SEGMENT - 1)
        now = keys.event_time(self._records.now() - OVERLAP)
        missing = range(first + len(segment.lines), end + 1)
        with self._hearing:
            dirty = dict(segment.dirty)
        changed = {key.first for key in dirty.values()}
        if len(missing) > _WORTH:
            segment.lines += [one.to_line() for one in rows.of_range(self._records, model, missing[0], end)]
        else:
            changed |= set(missing)
        for one in rows.of_numbers(self._records, model, (n for n in changed if n <= end)):
            segment.lines[one.number - first : one.number - first + 1] = [one.to_line()]
            with self._hearing:
                for text, key in dirty.items():
                    # what has not come about may still do so, and is looked at again until it is too old
                    if key.first == one.number and (_shown(one, key) or key.time < now):
                        segment.dirty.pop(text, None)
        with self._hearing:
            segment.cursor = min([now, *(key.time for key in segment.dirty.values())])
        segment.unsaved += len(changed) + (len(missing) if len(missing) > _WORTH else 0)
        if segment.unsaved > _WORTH:
            self._save(model, number, segment)

    def _save(self, model: str, number: int, segment: _Segment) -> None:
        data = packed(segment.cursor, segment.lines)
        key, store = keys.segment(model, number), self._records.store
        # another writer's is as good, and whoever may not write reads all the same
        with suppress(SluiceError):
            segment.etag = store.create(key, data) if segment.etag is None else store.replace(key, data, segment.etag)
        segment.unsaved = 0

    def rebuild(self, model: str) -> None:
        """Make all of a model's index anew from the log and the facts, and write it."""
        with self._lock:
            self._feed.forget()
            last = self.newest(model)
            for number in range((last + SEGMENT - 1) // SEGMENT):
                segment = self._build(model, number, last)
                self._refresh(model, number, segment, last)
                self._save(model, number, segment)


def _shows(key: keys.EventKey) -> bool:
    """Whether a row shows what the event tells of."""
    return key.first > 0 and key.kind in _SHOWN


def _shown(row: rows.Row, key: keys.EventKey) -> bool:
    """Whether the row shows it by now. Of decisions only time can tell."""
    return key.kind in row.facts


_SHOWN = {*FACTS, Tombstone.kind, EventKind.DECIDED.value}
