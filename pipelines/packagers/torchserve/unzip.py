"""Reading a zip from front to back, which Python's zipfile cannot, and which is how TorchServe reads it.

Only what TorchServe's reader takes is read: entries that are stored or deflated, neither encrypted nor patched
(APPNOTE 6.3.10: local headers 4.3.7, data descriptors 4.3.9, 64 bits 4.5.3). The directory at the end must name the
same files, so that no two readers see different archives.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zlib_ng import zlib_ng

from pipelines.archive import Limits
from pipelines.packagers.torchserve.mar import MAX32, Entry
from pipelines.paths import PathSet
from registry.errors import InvalidInput, Refused
from registry.store import CHUNK

_LOCAL, _CENTRAL = b"PK\3\4", b"PK\1\2"
_ENDS = (b"PK\5\6", b"PK\6\6")
_DESCRIPTOR = b"PK\7\10"
_FOLLOWS, _UTF8 = 0x8, 0x800
_READ = 0x2 | 0x4 | _FOLLOWS | _UTF8
"""Flags whose meaning is known: how hard the packer tried, that sizes follow, and that names are UTF-8."""
_STORED, _DEFLATED = 0, 8
_PIECE = 64 * 1024
"""Bytes that zlib-ng is given at a time: it copies what it leaves."""
_RATIO_FLOOR = 64 * CHUNK
_TAIL_MAX = 1 << 17
"""Bytes after the directory: its end, in both forms, and a comment."""


class _Header(NamedTuple):
    """What stands before an entry's data."""

    name: str
    method: int
    follows: bool
    """Whether checksum and sizes stand behind the data instead."""
    wide: bool
    """Whether sizes are said to take 64 bits."""
    crc: int
    packed: int
    size: int


def unzip(chunks: Iterable[bytes], limits: Limits) -> Iterator[Entry]:
    """The files of a zip, in its order; each one's chunks must be used up, if at all, before the next is asked for.

    Raises:
        InvalidInput: it is not a zip, or is truncated or damaged.
        Refused: it holds an unsafe path, two files of one name, what TorchServe does not read, or is a bomb.
    """
    tape, seen, budget = _Tape(chunks), PathSet(), _Budget(limits)
    names: list[str] = []
    while tape.peek(4) == _LOCAL:
        header = _header(tape)
        names.append(header.name)
        if len(names) > limits.files:
            raise Refused(f"The .mar holds more than {limits.files} files: pack only what serving needs.")
        data = _data(tape, header, budget)
        if header.name.endswith("/"):
            seen.add_folder(header.name)
            if any(data):
                raise Refused(f"The .mar holds bytes in the folder {header.name[:200]!r}: pack it again.")
            continue
        least = MAX32 + 1 if header.wide else 0
        yield Entry(seen.add(header.name), None if header.follows else header.size, data, least=least)
        for _ in data:
            pass
    _end(tape, names)


class _Tape:
    """A stream that can be looked ahead into."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._pieces = (chunk[at : at + _PIECE] for chunk in chunks for at in range(0, len(chunk), _PIECE))
        self._held = b""
        self.taken = 0

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer where it ends."""
        while len(self._held) < size and (piece := next(self._pieces, b"")):
            self._held += piece
        return self._held[:size]

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes, taken.

        Raises:
            InvalidInput: it ends before that.
        """
        data = self.peek(size)
        if len(data) < size:
            raise _truncated()
        self._held = self._held[size:]
        self.taken += size
        return data

    def some(self, most: int = _PIECE) -> bytes:
        """Between one and `most` bytes, taken.

        Raises:
            InvalidInput: it has ended.
        """
        self.peek(1)
        data, self._held = self._held[:most], self._held[most:]
        if not data:
            raise _truncated()
        self.taken += len(data)
        return data

    def back(self, data: bytes) -> None:
        """Put back what was taken last."""
        self._held = data + self._held
        self.taken -= len(data)


class _Budget:
    """How much may still come out."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._given = 0

    def spend(self, size: int, taken: int) -> None:
        """Count `size` bytes that came out once `taken` had gone in.

        Raises:
            Refused: it is too much.
        """
        self._given += size
        if self._given > self._limits.size:
            raise Refused(f"The .mar holds more than {self._limits.size} bytes: pack only what serving needs.")
        if self._given > max(_RATIO_FLOOR, taken * self._limits.ratio):
            raise Refused(
                f"The .mar grows more than {self._limits.ratio} times when it is unpacked, as a bomb does: pack it"
                " again."
            )


def _header(tape: _Tape) -> _Header:
    fixed = struct.unpack("<4sHHHHHLLLHH", tape.exactly(30))
    flags, method, crc, packed, size, name_length, extra_length = fixed[2], fixed[3], *fixed[6:]
    name = _name(tape.exactly(name_length))
    wide = _wide(tape.exactly(extra_length))
    if wide and MAX32 in (packed, size):
        size, packed = wide
    header = _Header(name, method, bool(flags & _FOLLOWS), wide is not None, crc, packed, size)
    _check(header, flags)
    return header


def _check(header: _Header, flags: int) -> None:
    shown = repr(header.name[:200])
    if flags & ~_READ:
        raise Refused(f"The .mar holds {shown} encrypted or patched: pack it with torch-model-archiver.")
    if header.method not in (_STORED, _DEFLATED):
        raise Refused(
            f"The .mar holds {shown} compressed by method {header.method}: pack it with torch-model-archiver."
        )
    if header.method == _STORED and header.follows:
        raise Refused(f"The .mar holds {shown} stored, and its size behind it: pack it with torch-model-archiver.")
    if header.method == _STORED and header.packed != header.size:
        raise _damaged(header.name)


def _name(raw: bytes) -> str:
    """A name as Java takes it: it is UTF-8 even where no flag says so, as Info-ZIP leaves it."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The .mar holds a file whose name is not UTF-8 ({raw[:80]!r}): rename it.") from error


def _wide(extra: bytes) -> tuple[int, int] | None:
    """Size and packed size out of the field for 64 bits, None where there is none."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1 and length >= 16 and at + 20 <= len(extra):
            size, packed = struct.unpack_from("<QQ", extra, at + 4)
            return size, packed
        at += 4 + length
    return None


def _data(tape: _Tape, header: _Header, budget: _Budget) -> Iterator[bytes]:
    before, crc, size = tape.taken, 0, 0
    for piece in _plain(tape, header):
        crc, size = zlib_ng.crc32(piece, crc), size + len(piece)
        budget.spend(len(piece), tape.taken)
        if not header.follows and size > header.size:
            raise _damaged(header.name)
        yield piece
    packed = tape.taken - before
    if header.follows:
        _descriptor(tape, header, (crc, packed, size))
    elif (crc, packed, size) != (header.crc, header.packed, header.size):
        raise _damaged(header.name)


def _plain(tape: _Tape, header: _Header) -> Iterator[bytes]:
    if header.method == _STORED:
        left = header.size
        while left:
            piece = tape.some(min(left, _PIECE))
            left -= len(piece)
            yield piece
        return
    inflate = zlib_ng.decompressobj(wbits=-15)
    pending = b""
    while not inflate.eof:
        pending = pending or tape.some()
        try:
            piece = inflate.decompress(pending, CHUNK)
        except zlib_ng.error as error:  # type: ignore[misc]  # its stubs say an exception where they mean its class
            raise _damaged(header.name) from error
        pending = inflate.unconsumed_tail
        if piece:
            yield piece
    tape.back(inflate.unused_data)


def _descriptor(tape: _Tape, header: _Header, found: tuple[int, int, int]) -> None:
    """Compare what stands behind the data with what the data was; in 64 or 32 bits, with a signature or without."""
    crc, packed, size = found
    forms = [struct.pack("<LQQ", crc, packed, size)]
    if max(packed, size) <= MAX32:
        forms.append(struct.pack("<LLL", crc, packed, size))
    seen = tape.peek(24)
    for form in [_DESCRIPTOR + form for form in forms] + forms:
        if seen.startswith(form):
            tape.exactly(len(form))
            return
    raise _damaged(header.name)


def _end(tape: _Tape, names: list[str]) -> None:
    """Read the directory, which must name the same files in the same order, and what follows it."""
    if not names:
        raise InvalidInput("The .mar is not a zip archive, or an empty one: pack it with torch-model-archiver.")
    for name in names:
        if tape.peek(4) != _CENTRAL:
            raise _disagree()
        fixed = struct.unpack("<4sHHHHHHLLLHHHHHLL", tape.exactly(46))
        found = tape.exactly(fixed[10])
        tape.exactly(fixed[11])
        tape.exactly(fixed[12])
        if found != name.encode():
            raise _disagree()
    if tape.peek(4) not in _ENDS:
        raise _disagree()
    if len(tape.peek(_TAIL_MAX)) == _TAIL_MAX:
        raise InvalidInput("The .mar has something behind its end: pack it with torch-model-archiver.")


def _truncated() -> InvalidInput:
    return InvalidInput("The .mar is truncated: its end is missing; pack it again.")


def _damaged(name: str) -> InvalidInput:
    return InvalidInput(f"The .mar is damaged in {name[:200]!r}: pack it again.")


def _disagree() -> Refused:
    return Refused("The directory of the .mar names other files than it holds: pack it with torch-model-archiver.")
