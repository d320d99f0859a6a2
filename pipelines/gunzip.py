"""Bytes out of a gzip stream (RFC 1952) that may be a bomb."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from registry.errors import InvalidInput, Refused
from registry.store import CHUNK

if TYPE_CHECKING:
    from pipelines.archive import Limits

_PIECE = 64 * 1024
"""Bytes that zlib is given at a time: it copies what follows a stream's end, which adds up where streams are tiny."""
_RATIO_FLOOR = 64 * CHUNK
"""Below this many bytes a high ratio is no danger."""


def gunzip(chunks: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """What is inside, never more than 1 MiB at a time; streams may follow each other, and zeros may follow the last.

    Raises:
        InvalidInput: it is not gzip, or is truncated or damaged.
        Refused: it gives more bytes than `limits` allow.
    """
    feed = _Feed(chunks)
    given, pending = 0, feed.next()
    while True:
        inflate = zlib.decompressobj(wbits=31)
        while not inflate.eof:
            pending = pending or feed.next()
            if not pending:
                raise InvalidInput("The archive is truncated: its gzip stream does not end; upload it again.")
            out = _inflated(inflate, pending)
            pending = inflate.unconsumed_tail
            given += len(out)
            _check(feed.taken, given, limits)
            if out:
                yield out
        pending = inflate.unused_data.lstrip(b"\0")
        while not pending and (more := feed.next()):
            pending = more.lstrip(b"\0")
        if not pending:
            return


class _Feed:
    """The bytes that came, in small pieces, none of them empty, and how many were taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._pieces = (chunk[at : at + _PIECE] for chunk in chunks for at in range(0, len(chunk), _PIECE))
        self.taken = 0

    def next(self) -> bytes:
        """Some more; b"" at the end."""
        piece = next(self._pieces, b"")
        self.taken += len(piece)
        return piece


def _inflated(inflate: zlib._Decompress, data: bytes) -> bytes:
    try:
        return inflate.decompress(data, CHUNK)
    except zlib.error as error:
        raise InvalidInput(f"This is not a gzipped tar archive, or it is damaged ({error}): pack it again.") from error


def _check(taken: int, given: int, limits: Limits) -> None:
    if given > limits.size:
        raise Refused(f"The archive holds more than {limits.size} bytes: pack only what serving needs.")
    if given > max(_RATIO_FLOOR, taken * limits.ratio):
        raise Refused(
            f"The archive grows more than {limits.ratio} times when it is unpacked, as a bomb does: pack it again."
        )
