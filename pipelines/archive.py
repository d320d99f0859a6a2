"""Reading a training output, which is hostile until shown otherwise, without unpacking it anywhere.

`tarfile` extracts through links, and an extraction filter is no help against all of them, so nothing is extracted:
regular files stream through, everything else is refused, and folders are implied by paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, PositiveInt

from pipelines.gunzip import gunzip
from pipelines.overlap import ahead
from pipelines.paths import PathSet
from pipelines.tarheaders import BLOCK, Tape, headers
from registry.errors import Refused


class Limits(BaseModel):
    """How much an archive may hold before it counts as an attack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: PositiveInt = 20_000
    """Files and folders together."""
    size: PositiveInt = 64 << 30
    """Bytes after decompression."""
    ratio: PositiveInt = 200
    """Bytes out for each byte in."""


class Member(NamedTuple):
    """One file: `chunks` gives its `size` bytes and must be used up, if at all, before the next member is asked for."""

    path: str
    size: int
    chunks: Iterator[bytes]


def read_archive(chunks: Iterable[bytes], limits: Limits | None = None) -> Iterator[Member]:
    """The regular files of a gzipped tar, in its order; memory is constant in the size of the archive.

    The whole stream is read, so its checksum is verified, before the iteration ends.

    Raises:
        InvalidInput: it is not a gzipped tar, or is truncated or damaged.
        Refused: it holds a path that leaves its folder, a link, a device or two files of one name, or is a bomb.
    """
    limits = limits or Limits()
    return read_members(gunzip(chunks, limits), limits.files)


@contextmanager
def members_ahead(members: Iterable[Member]) -> Iterator[Iterator[Member]]:
    """The same members, read by a thread of their own, which ends with the block; see `pipelines.overlap.ahead`."""
    with ahead(_flat(members)) as items:
        yield _Regrouped(items).members()


def _flat(members: Iterable[Member]) -> Iterator[Member | bytes]:
    for member in members:
        yield member
        yield from member.chunks


class _Regrouped:
    """Members out of what `_flat` made of them."""

    def __init__(self, items: Iterator[Member | bytes]) -> None:
        self._items = items
        self._next: Member | None = None

    def members(self) -> Iterator[Member]:
        """Each with the bytes that follow it."""
        for _ in self._bytes():  # there are none before the first
            pass
        while (member := self._next) is not None:
            chunks = self._bytes()
            yield member._replace(chunks=chunks)
            for _ in chunks:
                pass

    def _bytes(self) -> Iterator[bytes]:
        self._next = None
        for item in self._items:
            if isinstance(item, Member):
                self._next = item
                return
            yield item


def read_members(pieces: Iterable[bytes], most: int) -> Iterator[Member]:
    """The regular files of a tar that is not compressed; it may hold `most` files and folders.

    Raises:
        InvalidInput: it is not a tar, or is truncated or damaged.
        Refused: it holds too much, or what no model should.
    """
    tape, seen = Tape(pieces), PathSet()
    for count, header in enumerate(headers(tape), start=1):
        if count > most:
            raise Refused(f"The archive holds more than {most} files: pack only what serving needs.")
        if header.folder:
            seen.add_folder(header.name)
            continue
        path = seen.add(header.name)
        data = tape.take(header.size)
        yield Member(path, header.size, data)
        for _ in data:
            pass
        tape.exactly(-header.size % BLOCK)
    tape.end()
