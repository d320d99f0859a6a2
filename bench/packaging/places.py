"""Where bytes come from and go to in a measurement: a file, nowhere, or S3; as the protocols of registry/ want it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from registry import keys
from registry.facts import Source, Version
from registry.memory import MemoryBytes
from registry.progress import Progress
from registry.store import CHUNK, Blob, StoredObject


def chunks_of(path: Path) -> Iterator[bytes]:
    """A file's bytes."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


class MadeOutputs:
    """Training outputs that `make` makes."""

    def __init__(self, make: Callable[[], Iterator[bytes]], size: int) -> None:
        self._make, self._size = make, size

    def own(self, _: Source) -> str:
        """A key; there is nothing to copy."""
        return keys.output("0" * 32)

    def chunks(self, _: Version) -> Iterator[bytes]:
        """The bytes."""
        return self._make()

    def size(self, _: str) -> int | None:
        """How many there are."""
        return self._size


class JustStored(MemoryBytes):
    """Says of any key that its bytes were stored just now, so that nothing is afraid of garbage collection."""

    def seen(self, key: str) -> StoredObject | None:
        """Now."""
        return StoredObject(key, 0, datetime.now(UTC))


class FolderBlobs:
    """Blobs as files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, chunks: Iterable[bytes], *, what: str, progress: Progress) -> Blob:
        """Write and hash."""
        digest, size, part = hashlib.sha256(), 0, self._folder / "part"
        with part.open("wb", buffering=0) as file:
            for chunk in chunks:
                digest.update(chunk)
                size += file.write(chunk)
                progress.bytes(what, size, None)
        blob = Blob("sha256:" + digest.hexdigest(), size)
        part.rename(self._path(blob.digest))
        return blob

    def size(self, digest: str) -> int | None:
        """The file's size."""
        path = self._path(digest)
        return path.stat().st_size if path.exists() else None

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The file's bytes."""
        return chunks_of(self._path(digest))

    @contextmanager
    def open(self, digest: str) -> Iterator[IO[bytes]]:
        """The file."""
        with self._path(digest).open("rb", buffering=0) as file:
            yield file

    def _path(self, digest: str) -> Path:
        return self._folder / digest.removeprefix("sha256:")


class DroppedBlobs(FolderBlobs):
    """Blobs that are hashed and forgotten, so that any size of them fits."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))

    def put(self, chunks: Iterable[bytes], *, what: str, progress: Progress) -> Blob:
        """Hash."""
        digest, size = hashlib.sha256(), 0
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            progress.bytes(what, size, None)
        return Blob("sha256:" + digest.hexdigest(), size)
