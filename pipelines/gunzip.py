"""Bytes out of a gzip stream (RFC 1952) that may be a bomb.

By zlib-ng, which takes three quarters of zlib's time for trained weights and two fifths for what does not compress;
ISA-L is as fast for the first and slower for the second (docs/benchmarks.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from zlib_ng import zlib_ng

from registry.errors import InvalidInput, Refused
from registry.store import CHUNK

if TYPE_CHECKING:
    from pipelines.archive import Limits

_STEP_MIN = 1024
_STEP_MAX = CHUNK // 8
"""Bytes that zlib-ng is given at a time; what comes out of more of them does not fit the processor's cache."""
_RATIO_FLOOR = 64 * CHUNK
"""Below this many bytes a high ratio is no danger."""
_ZEROS = re.compile(rb"\0*")


def gunzip(chunks: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """What is inside, never more than 1 MiB at a time; streams may follow each other, and zeros may follow the last.

    Raises:
        InvalidInput: it is not gzip, or is truncated or damaged.
        Refused: it gives more bytes than `limits` allow.
    """
    feed, given = _Feed(chunks), 0
    while True:
        # from little to much in each stream: what follows a stream's end is copied, which adds up where they are tiny
        step, inflate = _STEP_MIN, zlib_ng.decompressobj(wbits=31)
        while not inflate.eof:
            piece = feed.piece(step)
            if not piece:
                raise InvalidInput("The archive is truncated: its gzip stream does not end; upload it again.")
            out = _inflated(inflate, piece)
            feed.take(len(piece) - _left(inflate))
            given += len(out)
            _check(feed.taken, given, limits)
            if out:
                yield out
            step = min(2 * step, _STEP_MAX)
        if feed.skip_zeros():
            return


class _Feed:
    """The bytes that came, and how many of them were taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk, self._at = b"", 0
        self.taken = 0

    def piece(self, size: int) -> memoryview:
        """Some of what comes next, at most `size` bytes; nothing at the end."""
        while self._at == len(self._chunk):
            self._at, self._chunk = 0, b""
            try:
                self._chunk = next(self._chunks)
            except StopIteration:
                break
        return memoryview(self._chunk)[self._at : self._at + size]

    def take(self, count: int) -> None:
        """Go on behind `count` bytes of the last piece."""
        self._at += count
        self.taken += count

    def skip_zeros(self) -> bool:
        """Take zeros, and tell whether nothing comes after them."""
        while self.piece(1):
            zeros = _ZEROS.match(self._chunk, self._at)
            assert zeros is not None  # noqa: S101  # it matches nothing, too
            self.take(zeros.end() - self._at)
            if self._at < len(self._chunk):
                return False
        return True


def _inflated(inflate: zlib_ng._Decompress, data: memoryview) -> bytes:
    try:
        return inflate.decompress(data, CHUNK)
    except zlib_ng.error as error:  # type: ignore[misc]  # its stubs say an exception where they mean its class
        raise InvalidInput(f"This is not a gzipped tar archive, or it is damaged ({error}): pack it again.") from error


def _left(inflate: zlib_ng._Decompress) -> int:
    """How many bytes of the last piece were not used."""
    # at a stream's end zlib-ng leaves what the call before it had not used in unconsumed_tail
    return len(inflate.unused_data if inflate.eof else inflate.unconsumed_tail)


def _check(taken: int, given: int, limits: Limits) -> None:
    if given > limits.size:
        raise Refused(f"The archive holds more than {limits.size} bytes: pack only what serving needs.")
    if given > max(_RATIO_FLOOR, taken * limits.ratio):
        raise Refused(
            f"The archive grows more than {limits.ratio} times when it is unpacked, as a bomb does: pack it again."
        )
