"""The store in memory: for tests, and for trying things out."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Lock
from uuid import uuid4

from registry import keys
from registry.errors import InvalidInput, NotFound
from registry.facts import Source, SourceKind, Version
from registry.outputs import blob_of, check_size, gone, own_blob, replaced, verified
from registry.progress import Progress
from registry.store import CHUNK, AlreadyExists, Blob, Bytes, Changed, Stored, StoredObject


class MemoryStore:
    """Small objects in a dictionary; safe for threads."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = Lock()

    def get(self, key: str) -> Stored | None:
        """The object, or None."""
        data = self._objects.get(key)
        return None if data is None else Stored(data, etag_of(data))

    def create(self, key: str, data: bytes) -> str:
        """Write a new object.

        Raises:
            AlreadyExists: the key holds other bytes.
        """
        with self._lock:
            there = self._objects.setdefault(key, data)
        if there != data:
            raise AlreadyExists(key, Stored(there, etag_of(there)))
        return etag_of(data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Write over the object that has this etag.

        Raises:
            Changed: the object has another etag, or is gone.
        """
        with self._lock:
            there = self._objects.get(key)
            if there is None or (etag_of(there) != etag and there != data):
                raise Changed(key)
            self._objects[key] = data
        return etag_of(data)

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[str]:
        """Keys in order."""
        with self._lock:
            found = sorted((k for k in self._objects if k.startswith(prefix) and k > after), key=str.encode)
        yield from found[:limit]

    def folders(self, prefix: str) -> Iterator[str]:
        """The distinct next parts of keys."""
        last = None
        for key in self.list(prefix):
            part, slash, _ = key[len(prefix) :].partition("/")
            folder = prefix + part + slash
            if slash and folder != last:
                yield folder
            last = folder


class MemoryBytes:
    """Bytes by their keys in a dictionary; `clock` tells when they are written."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._clock = clock

    def put(self, key: str, data: bytes) -> None:
        """Keep the bytes, new as of now."""
        self._objects[key] = data, self._clock()

    def get(self, key: str) -> bytes | None:
        """The bytes, or None."""
        found = self._objects.get(key)
        return None if found is None else found[0]

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """The objects in order of keys."""
        for key, (data, modified) in sorted(self._objects.copy().items()):
            if key.startswith(prefix):
                yield StoredObject(key, len(data), modified)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects."""
        for key in keys:
            self._objects.pop(key, None)

    def modified(self, key: str) -> datetime | None:
        """When the object was written, or None."""
        found = self._objects.get(key)
        return None if found is None else found[1]

    def seen(self, key: str) -> StoredObject | None:
        """The object as it is, or None."""
        found = self._objects.get(key)
        return None if found is None else StoredObject(key, len(found[0]), found[1])

    def bring(self, other: Bytes, key: str) -> None:
        """Copy the object under a key from another such dictionary.

        Raises:
            NotFound: it is not there.
            InvalidInput: the other is of another kind.
        """
        if not isinstance(other, MemoryBytes):
            raise InvalidInput("Bytes move between dictionaries only: give another one.")
        data = other.get(key)
        if data is None:
            raise NotFound(f"{key} is gone: restore it from a copy.")
        self.put(key, data)

    def touch(self, key: str) -> None:
        """Make the object new.

        Raises:
            NotFound: there is no such object.
        """
        data = self.get(key)
        if data is None:
            raise NotFound(f"{key} is gone: store it again.")
        self.put(key, data)


class MemoryBlobs:
    """Large bytes that are small after all, among those of `place`."""

    def __init__(self, place: MemoryBytes | None = None) -> None:
        self.bytes = place or MemoryBytes()

    def put(self, chunks: Iterable[bytes], *, what: str, progress: Progress) -> Blob:
        """Keep the bytes."""
        data = b"".join(chunks)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if self.size(digest) is None:
            self.bytes.put(keys.blob(digest), data)
        progress.bytes(what, len(data), len(data))
        return Blob(digest, len(data))

    def size(self, digest: str) -> int | None:
        """How many bytes the blob has, or None."""
        data = self.bytes.get(keys.blob(digest))
        return None if data is None else len(data)

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The blob from its first byte to its last.

        Raises:
            NotFound: there is no such blob.
        """
        yield from _chunked(self._get(digest))

    @contextmanager
    def open(self, digest: str) -> Iterator[io.BytesIO]:
        """The blob at any position.

        Raises:
            NotFound: there is no such blob.
        """
        with io.BytesIO(self._get(digest)) as file:
            yield file

    def _get(self, digest: str) -> bytes:
        data = self.bytes.get(keys.blob(digest))
        if data is None:
            raise NotFound(f"There is no blob {digest}: package the version again.")
        return data


class MemoryOutputs:
    """Copies among the bytes of `place`, of the files that lie at the addresses in `files`.

    Without `files` anything lies anywhere: a source that says 12 bytes has 12 zeros.
    """

    def __init__(
        self,
        place: MemoryBytes | None = None,
        files: Mapping[str, bytes] | None = None,
        *,
        token: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self.bytes = place or MemoryBytes()
        self._files = files
        self._token = token

    def own(self, source: Source) -> str:
        """Copy what a source names and give the copy's key.

        Raises:
            NotFound: the source is gone.
            Conflict: it was replaced after it was found.
            InvalidInput: it is a blob that is not the one the source names.
        """
        if source.kind is SourceKind.NONE:
            return ""
        digest = blob_of(source)
        if digest is not None:
            return own_blob(source, digest, self.bytes)
        data = bytes(source.size) if self._files is None else self._files.get(source.uri)
        if data is None:
            raise gone(source)
        if self._files is not None and source.etag != etag_of(data):
            raise replaced(source)
        key = keys.output(self._token())
        self.bytes.put(key, data)
        return key

    def chunks(self, version: Version) -> Iterator[bytes]:
        """A version's bytes from the first to the last.

        Raises:
            NotFound: the version has no bytes, or they are gone.
            Refused: they are others.
        """
        data = self.bytes.get(version.output)
        check_size(version, None if data is None else len(data))
        yield from verified(version, _chunked(data or b""))

    def size(self, key: str) -> int | None:
        """How many bytes a copy has, or None."""
        data = self.bytes.get(key)
        return None if data is None else len(data)


def _chunked(data: bytes) -> Iterator[bytes]:
    yield from (data[i : i + CHUNK] for i in range(0, len(data), CHUNK))


def etag_of(data: bytes) -> str:
    """The etag of these bytes, here and of what S3 stores in one part and does not encrypt."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
