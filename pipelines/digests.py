"""Keeping account of every byte: hashing what streams by, and refusing what is not as it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import zip_longest

from pipelines.archive import Member
from registry.errors import Refused
from registry.facts import FileFact
from registry.progress import Progress
from registry.store import CHUNK


class Hashed:
    """Bytes that pass through, once, and their sha256 and count when they have.

    Over another one, of which nothing has passed yet, the sums are that one's: the same bytes are not hashed twice.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._same = chunks if isinstance(chunks, Hashed) and not chunks.size else None
        self._chunks = iter(chunks)
        self._hash = hashlib.sha256()
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        if self._same is None:
            self._hash.update(chunk)
            self._size += len(chunk)
        return chunk

    @property
    def size(self) -> int:
        """Bytes that have passed so far."""
        return self._size if self._same is None else self._same.size

    @property
    def digest(self) -> str:
        """`sha256:…` of what has passed so far."""
        return "sha256:" + self._hash.hexdigest() if self._same is None else self._same.digest


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

    return member._replace(chunks=_Checked(member.chunks, fact))


class _Checked(Hashed):
    """Bytes that are refused at their end unless they are the ones that `fact` names."""

    def __init__(self, chunks: Iterable[bytes], fact: FileFact) -> None:
        super().__init__(chunks)
        self._fact = fact

    def __next__(self) -> bytes:
        try:
            return super().__next__()
        except StopIteration:
            if self.digest != self._fact.sha256:
                raise Refused(
                    f"{self._fact.path} holds other bytes than were recorded: they were changed since."
                ) from None
            raise


def all_verified(members: Iterable[Member], facts: Iterable[FileFact]) -> Iterator[Member]:
    """The members, which must be those that `facts` name, all of them and in that order.

    Raises:
        Refused: one is missing, added or changed.
    """
    for member, fact in zip_longest(members, facts):
        if member is None or fact is None:
            raise Refused("There are not the files that were recorded: they were changed since.")
        yield verified(member, fact)


def wanted_verified(
    members: Iterable[Member], facts: Sequence[FileFact], wanted: Collection[str] | None
) -> Iterator[Member]:
    """The members with a wanted path, all where `wanted` is None; together they must be those that `facts` name.

    A member that is not wanted is passed over, so its bytes need not be read.

    Raises:
        Refused: one is missing, added or, among the wanted, changed.
    """
    for member, fact in zip_longest(members, facts):
        if member is None or fact is None:
            raise Refused("There are not the files that were recorded: they were changed since.")
        checked = verified(member, fact)
        if wanted is None or fact.path in wanted:
            yield checked


def watched(
    chunks: Iterable[bytes], what: str, total: int | None, progress: Progress, done: int = 0
) -> Iterator[bytes]:
    """The chunks, telling `progress` as they go by; `done` bytes went before them."""
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
