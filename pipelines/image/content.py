"""Bytes on their way into an image: read from the first to the last, and again from where a connection broke."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple, Protocol

from pipelines.digests import watched
from registry.errors import Refused
from registry.progress import Progress
from registry.store import CHUNK, Blob


class Origin(NamedTuple):
    """The repository of a registry in which bytes lie already, so that they may be mounted from there."""

    host: str
    repository: str


class Content(Protocol):
    """Bytes that can be sent."""

    @property
    def digest(self) -> str | None:
        """`sha256:…`, where it is known before they are read."""

    @property
    def size(self) -> int | None:
        """How many, where it is known before they are read."""

    @property
    def origin(self) -> Origin | None:
        """Where they lie, if that is a registry."""

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from position `start` on, the same every time."""


class Data:
    """Bytes that are in memory, so there are few of them; they are hashed at once, so that they may be found there."""

    origin: Origin | None = None

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size: int | None = len(data)
        self.digest: str | None = "sha256:" + sha256(data).hexdigest()

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The bytes, 1 MiB at a time."""
        return (self._data[at : at + CHUNK] for at in range(start, len(self._data), CHUNK))


class Made:
    """Bytes that `make` makes, the same ones each time; those before `start` are made and dropped."""

    digest: str | None = None
    origin: Origin | None = None

    def __init__(self, make: Callable[[], Iterable[bytes]], size: int | None = None) -> None:
        self._make = make
        self.size = size

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from `start` on."""
        return _after(self._make(), start)


class Kept:
    """Bytes that lie somewhere under their digest; `read` gives them from a position on."""

    def __init__(
        self, digest: str, size: int, read: Callable[[int], Iterator[bytes]], origin: Origin | None = None
    ) -> None:
        self.digest: str | None = digest
        self.size: int | None = size
        self.origin = origin
        self._read = read

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from `start` on."""
        return self._read(start)


class Wrapped:
    """A content around another one, which is what it says of itself."""

    def __init__(self, inner: Content) -> None:
        self._inner = inner

    @property
    def digest(self) -> str | None:
        """The wrapped content's."""
        return self._inner.digest

    @property
    def size(self) -> int | None:
        """The wrapped content's."""
        return self._inner.size

    @property
    def origin(self) -> Origin | None:
        """The wrapped content's."""
        return self._inner.origin


class Watched(Wrapped):
    """The content it wraps, telling `progress` as the bytes go by."""

    def __init__(self, inner: Content, what: str, progress: Progress) -> None:
        super().__init__(inner)
        self._what, self._progress = what, progress

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The wrapped content's."""
        return watched(self._inner.chunks(start), self._what, self._inner.size, self._progress, start)


def read_small(content: Content, most: int, what: str) -> bytes:
    """All of a content that is read into memory.

    Raises:
        Refused: it has more than `most` bytes.
    """
    data = bytearray()
    for chunk in content.chunks():
        data += chunk
        if len(data) > most:
            raise Refused(f"{what} has more than {most} bytes, which none needs: pull the image again.")
    return bytes(data)


def check_content(content: Content, sent: Blob) -> None:
    """Compare what was sent with what the content said of itself.

    Raises:
        Refused: it is something else.
    """
    if content.digest not in (None, sent.digest) or content.size not in (None, sent.size):
        raise Refused(
            f"{content.digest or 'The content'} holds other bytes than its name says ({sent.digest}, {sent.size}"
            " bytes): copy it to its place again."
        )


def _after(chunks: Iterable[bytes], start: int) -> Iterator[bytes]:
    for chunk in chunks:
        if start < len(chunk):
            yield chunk[start:] if start else chunk
        start = max(0, start - len(chunk))
