"""Keeping account of every byte: hashing what streams by, and refusing what is not as it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import zip_longest

from pipelines.archive import Member
from registry.errors import Refused
from registry.facts import FileFact
from registry.progress import Progress
from registry.store import CHUNK


class Hashed:
    """Bytes that pass through, and their sha256 and count once they have."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._hash = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk

    @property
    def digest(self) -> str:
        """`sha256:…` of what has passed so far."""
        return "sha256:" + self._hash.hexdigest()


def verified(member: Member, fact: FileFact) -> Member:
    """The member, refused at its end unless its bytes are the ones that `fact` names.

    Raises:
        Refused: another path or size at once, other bytes at the end.
    """
    if (member.path, member.size) != (fact.path, fact.size):
        raise Refused(
            f"{member.path[:200]!r} of {member.size} bytes stands where {fact.path} of {fact.size} was recorded: the"
            " bytes were changed since."
        )

    def chunks() -> Iterator[bytes]:
        hashed = Hashed(member.chunks)
        yield from hashed
        if hashed.digest != fact.sha256:
            raise Refused(f"{fact.path} holds other bytes than were recorded: they were changed since.")

    return member._replace(chunks=chunks())


def all_verified(members: Iterable[Member], facts: Iterable[FileFact]) -> Iterator[Member]:
    """The members, which must be those that `facts` name, all of them and in that order.

    Raises:
        Refused: one is missing, added or changed.
    """
    for member, fact in zip_longest(members, facts):
        if member is None or fact is None:
            raise Refused("There are not the files that were recorded: they were changed since.")
        yield verified(member, fact)


def watched(chunks: Iterable[bytes], what: str, total: int | None, progress: Progress) -> Iterator[bytes]:
    """The chunks, telling `progress` as they go by."""
    done = 0
    for chunk in chunks:
        done += len(chunk)
        progress.bytes(what, done, total)
        yield chunk


def even(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of 1 MiB, the last one shorter, however they came."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= CHUNK:
            yield bytes(buffer[:CHUNK])
            del buffer[:CHUNK]
    if buffer:
        yield bytes(buffer)
