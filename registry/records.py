"""Records in a store: read, written once, or changed by compare-and-swap."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import uuid4

from pydantic import ValidationError

from registry.errors import InvalidInput, Refused
from registry.facts import Record
from registry.limits import RECORD_MAX
from registry.probe import probe
from registry.retry import retrying
from registry.store import AlreadyExists, Changed, Store

R = TypeVar("R", bound=Record)

_TURNS = 40


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def new_token() -> str:
    """A token that nobody else has."""
    return uuid4().hex


class Records:
    """A store of records. Safe for threads where the store is."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime] = utc_now,
        token: Callable[[], str] = new_token,
    ) -> None:
        self.store = store
        self.now = clock
        self.token = token
        self._probed = False

    def read(self, key: str, kind: type[R]) -> R | None:
        """The record under the key, or None.

        Raises:
            Refused: what is there is no such record.
        """
        stored = self.store.get(key)
        return None if stored is None else parse(key, stored.data, kind)

    def create(self, key: str, record: R) -> R:
        """What the key holds afterwards: `record`, or what another writer put there first.

        Raises:
            Refused: the store does not keep conditional writes, or holds something else.
            InvalidInput: the record is too long.
        """
        self._ready_to_write()
        try:
            self.store.create(key, _bytes(key, record))
        except AlreadyExists as error:
            return parse(key, error.stored.data, type(record))
        return record

    def change(self, key: str, kind: type[R], change: Callable[[R | None], R]) -> R:
        """Give `change` what is there, or None, and write what it returns; again while other writers come in between.

        A `change` that returns what it was given writes nothing. It may be called several times.

        Raises:
            Conflict: other writers came in between again and again.
            Refused: the store does not keep conditional writes, or holds something else.
        """
        self._ready_to_write()

        def once() -> R:
            stored = self.store.get(key)
            before = None if stored is None else parse(key, stored.data, kind)
            after = change(before)
            if stored is None:
                self.store.create(key, _bytes(key, after))
            elif after is not before:
                self.store.replace(key, _bytes(key, after), stored.etag)
            return after

        return retrying(_TURNS, when=_lost_a_race, first=0.01, longest=0.5)(once)

    def _ready_to_write(self) -> None:
        if not self._probed:
            probe(self.store)
            self._probed = True


def parse(key: str, data: bytes, kind: type[R]) -> R:
    """Read a record's bytes.

    Raises:
        Refused: they are no such record.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise Refused(
            f"{key} is not a {kind.__name__.lower()} record of this Sluice: upgrade Sluice, or restore the object"
            f" ({error.error_count()} fields do not fit)."
        ) from error


def _lost_a_race(error: BaseException) -> bool:
    return isinstance(error, Changed | AlreadyExists)


def _bytes(key: str, record: Record) -> bytes:
    data = record.to_bytes()
    if len(data) > RECORD_MAX:
        raise InvalidInput(f"{key} would take {len(data)} bytes, and {RECORD_MAX} are the most: say less.")
    return data
