"""Which models and versions something may have happened to since one last asked; from the events' keys alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from registry import keys
from registry.eventlog import OVERLAP
from registry.records import Records


class Feed:
    """Gives each event's key once to each of its listeners, no later than `max_age` seconds after it was written."""

    def __init__(
        self, records: Records, *, max_age: float = 0.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._records = records
        self.max_age = max_age
        self._monotonic = monotonic
        self._lock = Lock()
        self._asked = 0.0
        self._wanted = object()
        """Another one each time that the answer is to be newer than now."""
        self._given: object = None
        """What was wanted when it was last asked."""
        self._seen: set[str] = set()
        self._listeners: list[Callable[[keys.EventKey], None]] = []
        self._since = keys.event_time(records.now() - OVERLAP)
        """Events before this moment are not given, or were given."""

    def listen(self, listener: Callable[[keys.EventKey], None]) -> None:
        """Let `listener` hear of what comes from now on."""
        self._listeners.append(listener)

    def stale(self) -> bool:
        """Whether the listeners heard nothing for longer than `max_age`."""
        return self._given is not self._wanted or self._monotonic() - self._asked >= self.max_age

    def poll(self) -> None:
        """Tell the listeners what is new, where that is due.

        A request for each thousand events since a minute before the last one.
        """
        with self._lock:
            if not self.stale():
                return
            asked, wanted = self._monotonic(), self._wanted
            settled = keys.event_time(self._records.now() - OVERLAP)
            listed = list(self._records.store.list(keys.EVENTS, after=keys.EVENTS + self._since))
            for text in listed:
                key = keys.EventKey.parse(text)
                if text not in self._seen and key is not None:
                    for listener in self._listeners:
                        listener(key)
            self._since = max(self._since, settled)
            # what comes before that is not listed again
            self._seen = {text for text in listed if text > keys.EVENTS + self._since}
            self._asked, self._given = asked, wanted

    def forget(self) -> None:
        """Ask at the next poll, however young the last answer is."""
        self._wanted = object()
