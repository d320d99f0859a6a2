"""The catalog: a cache of what a list of models shows, `index/models.jsonl`. Never the truth, as the index is not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock, RLock

from pydantic import ValidationError

from registry import keys, log
from registry.changes import Model, Summary
from registry.errors import SluiceError
from registry.eventlog import OVERLAP, keys_after
from registry.facts import Tombstone
from registry.feed import Feed
from registry.index import OLDEST, packed, unpacked
from registry.names import VersionRef
from registry.records import Records

_PAGES = 5
_READERS = 8
_WORTH = 16
_TELLING = ("registered", Tombstone.kind, "edited")


class Catalog:
    """Summaries of models, all of them in memory once they were asked for."""

    def __init__(self, records: Records, feed: Feed) -> None:
        self._records = records
        self._feed = feed
        self._lock = RLock()
        self._models: dict[str, Summary] = {}
        self._dirty: dict[str, keys.EventKey] = {}
        self._hearing = Lock()
        """Held while what is dirty changes: whoever asks the feed tells, with locks of their own."""
        self._etag: str | None = None
        self._unsaved = 0
        self._loaded = False
        self._asked = records.now()
        feed.listen(self._hear)

    def models(self) -> Iterator[Summary]:
        """Models that were not deleted, the one with the newest registration first.

        One request where nothing changed; one more the first time, and four for each model that changed.
        """
        with self._lock:
            self._feed.poll()
            if self._asked < self._records.now() - OLDEST:
                self._loaded = False  # what happened since may have expired
            self._asked = self._records.now()
            if not self._loaded:
                self._loaded = self._load() or self._build()
            self._refresh()
            found = list(self._models.values())
        return iter(sorted(found, key=lambda one: (one.updated_at, one.model.name), reverse=True))

    def anew(self) -> Iterator[Summary]:
        """The same from the records alone, whatever the cache says."""
        with self._lock:
            self._loaded = self._build()
        return self.models()

    def rebuild(self) -> None:
        """Make all of it anew from the records, and write it."""
        with self._lock:
            stored = self._records.store.get(keys.CATALOG)
            self._etag = stored.etag if stored else None
            self._loaded = self._build()
            self._save()

    def _hear(self, key: keys.EventKey) -> None:
        if key.kind in _TELLING:
            # of one model's many, the last one says most
            with self._hearing:
                self._dirty[key.model] = max(key, self._dirty.get(key.model, key))

    def _load(self) -> bool:
        stored = self._records.store.get(keys.CATALOG)
        if stored is None:
            return False
        self._etag = stored.etag
        there = unpacked(stored.data, self._records.now())
        if there is None:
            return False
        cursor, lines = there
        try:
            summaries = [Summary.model_validate_json(line) for line in lines]
        except ValidationError:
            return False
        happened = keys_after(self._records, cursor, _PAGES)
        for key in happened or ():
            self._hear(key)
        self._models = {one.model.name: one for one in summaries}
        return happened is not None

    def _build(self) -> bool:
        names = list(log.models(self._records))
        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(self._summary, names)
            self._models = {one.model.name: one for one in found if one is not None}
        self._unsaved += len(names)
        return True

    def _refresh(self) -> None:
        settled = keys.event_time(self._records.now() - OVERLAP)
        with self._hearing:
            dirty = dict(self._dirty)
        for name, key in dirty.items():
            summary = self._summary(name)
            self._unsaved += 1
            if summary is None:
                self._models.pop(name, None)
            else:
                self._models[name] = summary
            with self._hearing:
                if key.time < settled and self._dirty[name] is key:
                    del self._dirty[name]
        if self._unsaved > _WORTH:
            self._save()

    def _summary(self, name: str) -> Summary | None:
        model = self._records.read(keys.model(name), Model)
        if model is None:
            return None
        entry = log.newest(self._records, name)
        # without a version it is what a registration that was broken off left behind
        if entry is None or (model.deleted and entry.last <= model.deleted.upto):
            return None
        while entry is not None:
            for version in reversed(entry.versions):
                if self._records.store.get(keys.fact(version.ref, Tombstone.kind)) is None:
                    return Summary(model=model, newest=version.number, updated_at=version.created_at)
            first = entry.versions[0].number
            entry = log.entry_of(self._records, VersionRef(model=name, number=first - 1)) if first > 1 else None
        return Summary(model=model, updated_at=model.created_at)

    def _save(self) -> None:
        settled = keys.event_time(self._records.now() - OVERLAP)
        with self._hearing:
            cursor = min([settled, *(key.time for key in self._dirty.values())])
        data = packed(cursor, [one.model_dump_json().encode() for _, one in sorted(self._models.items())])
        store = self._records.store
        # another writer's is as good, and whoever may not write reads all the same
        with suppress(SluiceError):
            if self._etag is None:
                self._etag = store.create(keys.CATALOG, data)
            else:
                self._etag = store.replace(keys.CATALOG, data, self._etag)
        self._unsaved = 0
