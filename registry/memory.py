"""The store in memory: for tests, and for trying things out."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock

from registry.errors import NotFound
from registry.progress import Progress
from registry.store import CHUNK, AlreadyExists, Blob, Changed, Stored


class MemoryStore:
    """Small objects in a dictionary; safe for threads."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = Lock()

    def get(self, key: str) -> Stored | None:
        """The object, or None."""
        data = self._objects.get(key)
        return None if data is None else Stored(data, _etag(data))

    def create(self, key: str, data: bytes) -> str:
        """Write a new object.

        Raises:
            AlreadyExists: the key holds other bytes.
        """
        with self._lock:
            there = self._objects.setdefault(key, data)
        if there != data:
            raise AlreadyExists(key, Stored(there, _etag(there)))
        return _etag(data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Write over the object that has this etag.

        Raises:
            Changed: the object has another etag, or is gone.
        """
        with self._lock:
            there = self._objects.get(key)
            if there is None or (_etag(there) != etag and there != data):
                raise Changed(key)
            self._objects[key] = data
        return _etag(data)

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


class MemoryBlobs:
    """Large bytes that are small after all."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put(self, chunks: Iterable[bytes], *, what: str, progress: Progress) -> Blob:
        """Keep the bytes."""
        data = b"".join(chunks)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self._blobs[digest] = data
        progress.bytes(what, len(data), len(data))
        return Blob(digest, len(data))

    def size(self, digest: str) -> int | None:
        """How many bytes the blob has, or None."""
        data = self._blobs.get(digest)
        return None if data is None else len(data)

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The blob from its first byte to its last.

        Raises:
            NotFound: there is no such blob.
        """
        data = self._get(digest)
        yield from (data[i : i + CHUNK] for i in range(0, len(data), CHUNK))

    @contextmanager
    def open(self, digest: str) -> Iterator[io.BytesIO]:
        """The blob at any position.

        Raises:
            NotFound: there is no such blob.
        """
        with io.BytesIO(self._get(digest)) as file:
            yield file

    def _get(self, digest: str) -> bytes:
        if digest not in self._blobs:
            raise NotFound(f"There is no blob {digest}: package the version again.")
        return self._blobs[digest]


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
