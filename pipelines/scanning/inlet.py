"""Reading what is pushed as if it could be pulled: parsers as coroutines that wait for the next piece."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from pipelines.scanning.inspector import Piece

T = TypeVar("T")
Waits = Generator[None, None, T]
"""Gives a T in the end, and stops at each `yield` for another piece."""


class CutShort(Exception):
    """The bytes end before they should."""


class Inlet:
    """Pieces that were pushed and not read yet: never more than one."""

    def __init__(self) -> None:
        self._piece, self._at = b"", 0
        self._before = 0
        self.ended = False

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return self._before + self._at

    def put(self, piece: Piece) -> None:
        """Push; everything before was read."""
        self._before += self._at
        self._piece, self._at = piece if isinstance(piece, bytes) else bytes(piece), 0

    def peek(self) -> Waits[bytes]:
        """The whole piece that is being read, from `at` on not read yet; nothing at the end of all."""
        while self._at == len(self._piece):
            if self.ended:
                return b""
            yield
        return self._piece

    @property
    def at(self) -> int:
        """How much of the piece has been read."""
        return self._at

    def advance(self, count: int) -> None:
        """Take `count` bytes of the piece for read."""
        self._at += count

    def some(self, most: int) -> Waits[memoryview]:
        """Up to `most` bytes, as they are there; none at the end of all."""
        piece = yield from self.peek()
        taken = memoryview(piece)[self._at : self._at + most]
        self._at += len(taken)
        return taken

    def exactly(self, size: int) -> Waits[bytes]:
        """`size` bytes.

        Raises:
            CutShort: there are fewer.
        """
        parts, left = list[memoryview](), size
        while left:
            part = yield from self.some(left)
            if not part:
                raise CutShort
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def back(self, data: bytes) -> None:
        """Take `data` for unread, the last bytes that were read."""
        self._before, self._piece, self._at = self.position - len(data), data + self._piece[self._at :], 0
