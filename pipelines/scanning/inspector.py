"""What looks into one file as its bytes are pushed by, and the simple ones of that kind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

Piece = bytes | memoryview
_ASKED_MAX = 1_000_000
"""Places that are looked at closely in one file; one with more of them is made to cost time."""


class Inspector(Protocol):
    """Looks into one file. It keeps what it needs of a piece, for the bytes may be gone afterwards."""

    def feed(self, piece: Piece) -> None:
        """The file's next bytes."""

    def close(self) -> None:
        """There are no more; what was found is noted by now."""


class Skip:
    """Looks at nothing."""

    def feed(self, piece: Piece) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Capture:
    """Keeps a file's first `most` bytes, and hands them over at the end with the size of all."""

    def __init__(self, most: int, use: Callable[[bytes, int], None]) -> None:
        self._most, self._use = most, use
        self._kept, self._size = bytearray(), 0

    def feed(self, piece: Piece) -> None:
        """Keep what there is room for."""
        if len(self._kept) < self._most:
            self._kept += piece[: self._most - len(self._kept)]
        self._size += len(piece)

    def close(self) -> None:
        """Hand over what was kept."""
        kept, self._kept = bytes(self._kept), bytearray()
        self._use(kept, self._size)


class Digest:
    """Hands over a file's sha256, in hex, at the end."""

    def __init__(self, use: Callable[[str], None]) -> None:
        self._hash, self._use = hashlib.sha256(), use

    def feed(self, piece: Piece) -> None:
        """Hash it."""
        self._hash.update(piece)

    def close(self) -> None:
        """Hand over the digest."""
        self._use(self._hash.hexdigest())


class Search:
    """Looks for needles among a file's bytes; `match` says of each place, with the bytes around it, whether it counts.

    `match` is given the needle, the bytes and the place in them; at least `around` bytes are there on both sides
    where the file has them. It is asked until it agrees, once for each needle; after a million times that counts as if
    it had.
    """

    def __init__(
        self,
        needles: Sequence[bytes],
        around: int,
        match: Callable[[bytes, bytes, int], bool],
        use: Callable[[tuple[bytes, ...]], None],
    ) -> None:
        self._left, self._found = list(needles), list[bytes]()
        self._around, self._match, self._use = around, match, use
        self._longest = max(map(len, needles))
        self._window, self._asked = b"", 0

    def feed(self, piece: Piece) -> None:
        """Look at it, together with the end of what came before."""
        self._window += piece
        if len(self._window) > 4 * self._around + self._longest:
            self._look(len(self._window) - self._around)
            self._window = self._window[-(2 * self._around + self._longest) :]

    def close(self) -> None:
        """Look at the end, and hand over the needles that were found."""
        self._look(len(self._window))
        self._use(tuple(self._found))

    def _look(self, end: int) -> None:
        for needle in list(self._left):
            at = self._window.find(needle, 0, end)
            while at >= 0:
                self._asked += 1
                if self._asked > _ASKED_MAX or self._match(needle, self._window, at):
                    self._left.remove(needle)
                    self._found.append(needle)
                    break
                at = self._window.find(needle, at + 1, end)
