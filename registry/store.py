"""Where records live: an object store of four verbs, and a place for bytes named by their sha256.

Both are small so that a bucket, a folder of memory and a store that injects faults can stand in for each other;
tests/registry/test_store_contract.py is what they all must pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from registry.errors import Conflict
from registry.progress import Progress

CHUNK = 1 << 20
"""Bytes that move at a time, everywhere: 1 MiB."""


class Stored(NamedTuple):
    """An object as it was read."""

    data: bytes
    etag: str


class AlreadyExists(Conflict):
    """A conditional create found the key taken; `stored` is what holds it."""

    def __init__(self, key: str, stored: Stored) -> None:
        super().__init__(f"{key} exists already, and records are written once.")
        self.key = key
        self.stored = stored


class Changed(Conflict):
    """A conditional replace found another etag than the expected one, or nothing."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} was changed by another writer: read it again and retry.")
        self.key = key


class Store(Protocol):
    """Small objects, with the two conditional writes that everything in the registry stands on.

    No key is another one's folder: beside `a` there is no `a/b`, which a store that keeps folders could not hold.
    """

    def get(self, key: str) -> Stored | None:
        """The object, or None. Sees every write that was acknowledged before it."""

    def create(self, key: str, data: bytes) -> str:
        """Write a new object and return its etag.

        A create whose answer was lost and which is sent again succeeds where the key holds these very bytes, so
        bytes that must not be taken for another writer's carry a token.

        Raises:
            AlreadyExists: the key holds other bytes.
        """

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Write over the object that has this etag and return the new one.

        Raises:
            Changed: the object has another etag, or is gone.
        """

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[str]:
        """Keys that begin with `prefix` and sort after `after`, in order of UTF-8 bytes, at most `limit`.

        A store that keeps folders, as SeaweedFS does, gives `a/x` before `a-b/x`, which bytes order the other way
        round: rely on the order only where no folder's name begins with its neighbour's.
        """

    def folders(self, prefix: str) -> Iterator[str]:
        """The distinct next parts, up to and with `/`, of the keys that begin with `prefix`, in `list`'s order."""


class Reader(Protocol):
    """Bytes at any position, for formats whose directory is at the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes from here, b"" at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move, as io.IOBase.seek does; returns the position."""

    def tell(self) -> int:
        """The position."""


class Blob(NamedTuple):
    """Bytes in the store, named by what they are."""

    digest: str
    """`sha256:` and 64 hexadecimal digits."""
    size: int


class Blobs(Protocol):
    """Large bytes, each under its own sha256."""

    def put(self, chunks: Iterable[bytes], *, what: str, progress: Progress) -> Blob:
        """Store the bytes; memory stays constant, and nothing is visible under a digest before all of it is there."""

    def size(self, digest: str) -> int | None:
        """How many bytes the blob has, or None where there is none."""

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The blob from its first byte to its last, verified.

        Raises:
            NotFound: there is no such blob.
            Refused: the bytes are not the ones the digest names, told after the last chunk.
        """

    def open(self, digest: str) -> AbstractContextManager[Reader]:
        """The blob at any position; what is read is not verified against the digest.

        Raises:
            NotFound: there is no such blob.
        """


class StoredObject(NamedTuple):
    """What a listing tells of an object."""

    key: str
    size: int
    modified: datetime
    """When it was written, in UTC."""


SEEN = timedelta(seconds=30)
"""How old an answer of `Bytes.seen` may be: far less than any bytes are safe from collection."""


class Bytes(Protocol):
    """All large bytes by their keys: blobs, outputs, uploads. What garbage collection works on."""

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """The objects whose keys begin with `prefix`, in `Store.list`'s order."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; what is not there is no error."""

    def modified(self, key: str) -> datetime | None:
        """When the object was written, in UTC, or None where there is none."""

    def seen(self, key: str) -> StoredObject | None:
        """The object as it was at most `SEEN` ago, or None; for bytes under their own digest, which do not change."""

    def bring(self, other: Bytes, key: str) -> None:
        """Copy the object under a key from another bucket of the same kind, to the same key.

        Raises:
            NotFound: it is not there.
            InvalidInput: the other bucket is of another kind.
        """

    def touch(self, key: str) -> None:
        """Make the object as new as one that is written now.

        Its bytes stay. Its etag may change, so whoever reads it meanwhile may have to start again.

        Raises:
            NotFound: there is no such object.
        """
