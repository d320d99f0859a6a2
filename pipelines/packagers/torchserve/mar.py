"""Writing and reading back the one form of zip that Sluice makes: entries of stored deflate blocks, front to back.

TorchServe reads a `.mar` as a stream, and refuses an entry that is stored with its size behind it; one that is deflated
may have it there (APPNOTE 6.3.10, 4.4.4 and 4.3.9). So the bytes lie in stored blocks of a deflate stream (RFC 1951,
3.2.4), which costs a copy and no more. Every block but an entry's last is full, so the archive is a function of its
files alone, not of the chunks they come in nor of a compression library, and where each byte lies can be computed.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from zlib_ng import zlib_ng

from pipelines.archive import Member
from pipelines.digests import Hashed, verified
from pipelines.paths import PathSet
from registry.errors import Refused
from registry.facts import FileFact
from registry.store import Reader

BLOCK = 0xFFFF
"""Bytes in a stored block, the most there can be."""
MAX32 = 0xFFFFFFFF
_MAX16 = 0xFFFF
_FULL, _LAST = 0, 1
_BLOCK_HEADER = struct.Struct("<BHH")
_FULL_BLOCK = _BLOCK_HEADER.pack(_FULL, BLOCK, 0)
_BLOCKS_AT_ONCE = 16
"""Blocks that are read at a time, 1 MiB of them."""
_FLAGS = 0x808
"""The sizes follow the data, and the name is UTF-8 (APPNOTE, 4.4.4, bits 3 and 11)."""
_DEFLATED = 8
_TIME, _DATE = 0, 0x21
"""Midnight of 1 January 1980, the first that there is."""
_MODE = 0o100644 << 16
_UNIX = 3 << 8


class Entry(NamedTuple):
    """A file on its way into a `.mar`."""

    path: str
    size: int | None
    """None where it is known only once the bytes have come."""
    chunks: Iterable[bytes]
    fact: FileFact | None = None
    """What somebody vouches for, so that the bytes need not be hashed again."""
    least: int = 0
    """A size that it has at least, where `size` is None."""

    @property
    def large(self) -> bool:
        """Whether its sizes take 64 bits."""
        return _large(self.least if self.size is None else self.size)


class _Written(NamedTuple):
    """What the directory says of an entry."""

    path: str
    size: int
    crc: int
    offset: int


def write_mar(entries: Iterable[Entry], files: list[FileFact]) -> Iterator[bytes]:
    """A zip of the entries, in their order; what is in it is added to `files` as it goes by.

    Raises:
        Refused: a path is not safe or is there twice, or a size that was not known is beyond 4 GiB.
    """
    seen, written, offset = PathSet(), list[_Written](), 0
    for entry in entries:
        seen.add(entry.path)
        header = local_header(entry.path, large=entry.large)
        yield header
        data = _Counted(entry)
        yield from stored(data, entry.size)
        if _large(data.size) is not entry.large:
            raise _wrong_size()
        yield descriptor(data.crc, data.size)
        written.append(_Written(entry.path, data.size, data.crc, offset))
        offset += len(header) + stored_size(data.size) + len(descriptor(0, data.size))
        files.append(data.fact())
    yield from _directory(written, offset)


class _Counted:
    """An entry's bytes, with their checksum and size once they have passed."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._hashed = Hashed(entry.chunks) if entry.fact is None else None
        self.crc = self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._hashed or self._entry.chunks:
            self.crc = zlib_ng.crc32(chunk, self.crc)  # ten times as fast as zlib's
            self.size += len(chunk)
            yield chunk

    def fact(self) -> FileFact:
        """The entry as it lies in the archive."""
        sha256 = self._entry.fact.sha256 if self._hashed is None and self._entry.fact else None
        return FileFact(path=self._entry.path, size=self.size, sha256=sha256 or self._digest())

    def _digest(self) -> str:
        return "" if self._hashed is None else self._hashed.digest


def stored(chunks: Iterable[bytes], size: int | None) -> Iterator[bytes]:
    """A deflate stream of stored blocks: full ones, and a last one of what is left, which may be nothing.

    The bytes are copied once, into place between the blocks' headers.
    """
    return _stored_unsized(chunks) if size is None else _stored_sized(chunks, size)


def stored_size(size: int) -> int:
    """Bytes that `stored` makes of `size`."""
    return size + _BLOCK_HEADER.size * max(1, -(-size // BLOCK))


def _stored_sized(chunks: Iterable[bytes], left: int) -> Iterator[bytes]:
    """`left` bytes are to come, so a block's header can be written before its bytes are there."""
    room = 0
    if not left:
        yield _block_header(0, 0)
    for chunk in chunks:
        if len(chunk) > left:
            raise _wrong_size()
        view, at, pieces = memoryview(chunk), 0, list[bytes | memoryview]()
        while at < len(chunk):
            if not room:
                room = min(BLOCK, left)
                pieces.append(_block_header(room, left))
            piece = view[at : at + room]
            pieces.append(piece)
            at, room, left = at + len(piece), room - len(piece), left - len(piece)
        yield b"".join(pieces)
    if left:
        raise _wrong_size()


def _stored_unsized(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One block is held back, since the last one has to say that it is."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) > BLOCK:
            yield _FULL_BLOCK + held[:BLOCK]
            del held[:BLOCK]
    yield _block_header(len(held), len(held)) + held


def _block_header(length: int, left: int) -> bytes:
    return _BLOCK_HEADER.pack(_LAST if length == left else _FULL, length, length ^ _MAX16)


def local_header(path: str, *, large: bool) -> bytes:
    """An entry's header (APPNOTE, 4.3.7); its checksum and sizes are zero, as they follow the data.

    A large entry says that they do so in 64 bits (4.5.3).
    """
    name = path.encode()
    extra = struct.pack("<HHQQ", 1, 16, 0, 0) if large else b""
    size = MAX32 if large else 0
    fixed = (b"PK\3\4", _version(large), _FLAGS, _DEFLATED, _TIME, _DATE, 0, size, size, len(name), len(extra))
    return struct.pack("<4sHHHHHLLLHH", *fixed) + name + extra


def descriptor(crc: int, size: int) -> bytes:
    """What follows an entry's data (APPNOTE, 4.3.9).

    Java's ZipInputStream takes the sizes for 64 bits wide just where one of them needs it, whatever the header said.
    """
    return struct.pack("<4sLQQ" if _large(size) else "<4sLLL", b"PK\7\10", crc, stored_size(size), size)


def _large(size: int) -> bool:
    return stored_size(size) > MAX32


def _version(large: bool) -> int:
    return 45 if large else 20


def _directory(written: Sequence[_Written], offset: int) -> Iterator[bytes]:
    size = 0
    for entry in written:
        record = _central(entry)
        size += len(record)
        yield record
    yield end_of_directory(len(written), size, offset)


def _central(entry: _Written) -> bytes:
    """An entry in the directory (APPNOTE, 4.3.12); what does not fit in 32 bits is in the extra field (4.5.3)."""
    name = entry.path.encode()
    wide = _wide(entry.size, entry.offset)
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    packed, size, offset = (min(value, MAX32) for value in (stored_size(entry.size), entry.size, entry.offset))
    version = _version(bool(wide))
    made, sizes = (b"PK\1\2", _UNIX | version, version, _FLAGS, _DEFLATED, _TIME, _DATE), (entry.crc, packed, size)
    rest = (len(name), len(extra), 0, 0, 0, _MODE, offset)
    return struct.pack("<4sHHHHHHLLLHHHHHLL", *made, *sizes, *rest) + name + extra


def _wide(size: int, offset: int) -> list[int]:
    return [value for value in (size, stored_size(size), offset) if value >= MAX32]


def _central_size(path: str, size: int, offset: int) -> int:
    wide = _wide(size, offset)
    return 46 + len(path.encode()) + (4 + 8 * len(wide) if wide else 0)


def end_of_directory(count: int, size: int, offset: int) -> bytes:
    """The archive's end (APPNOTE, 4.3.16), after one of 64 bits where a number needs it (4.3.14 and 4.3.15)."""
    short = (min(count, _MAX16), min(count, _MAX16), min(size, MAX32), min(offset, MAX32))
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, *short, 0)
    if count < _MAX16 and size < MAX32 and offset < MAX32:
        return end
    made = (b"PK\6\6", 44, _UNIX | 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, offset + size, 1)
    return struct.pack("<4sQHHLLQQQQ", *made) + locator + end


def read_mar(reader: Reader, files: Sequence[FileFact], wanted: Collection[str] | None) -> Iterator[Member]:
    """The wanted ones of the files that a `.mar` of Sluice's holds, all where `wanted` is None, verified.

    Where they lie follows from `files`; nothing else is read but each one's header and the archive's end.

    Raises:
        Refused: the archive is not the one that Sluice makes of those files.
    """
    places, offset, directory = list[int](), 0, 0
    for fact in files:
        places.append(offset)
        directory += _central_size(fact.path, fact.size, offset)
        offset += len(local_header(fact.path, large=_large(fact.size))) + stored_size(fact.size)
        offset += len(descriptor(0, fact.size))
    end = end_of_directory(len(files), directory, offset)
    if reader.seek(0, io.SEEK_END) != offset + directory + len(end):
        raise _changed("has another length")
    _expect(reader, offset + directory, end, "ends otherwise")
    for place, fact in zip(places, files, strict=True):
        if wanted is None or fact.path in wanted:
            yield verified(Member(fact.path, fact.size, _unstored(reader, place, fact)), fact)


def _unstored(reader: Reader, place: int, fact: FileFact) -> Iterator[bytes]:
    header = local_header(fact.path, large=_large(fact.size))
    _expect(reader, place, header, f"has something else in the place of {fact.path[:200]!r}")
    place, left = place + len(header), fact.size
    while True:
        take = min(left, BLOCK * _BLOCKS_AT_ONCE)
        size = stored_size(take)
        reader.seek(place)
        view = memoryview(_exactly(reader, size))
        pieces = []
        for at in range(0, size, BLOCK + _BLOCK_HEADER.size):
            piece = view[at + _BLOCK_HEADER.size : at + _BLOCK_HEADER.size + BLOCK]
            if view[at : at + _BLOCK_HEADER.size] != _block_header(len(piece), left):
                raise _changed(f"holds {fact.path[:200]!r} as Sluice never writes it")
            pieces.append(piece)
            left -= len(piece)
        if take:
            yield b"".join(pieces)
        if not left:
            return
        place += size


def _expect(reader: Reader, place: int, data: bytes, otherwise: str) -> None:
    reader.seek(place)
    if _exactly(reader, len(data)) != data:
        raise _changed(otherwise)


def _exactly(reader: Reader, size: int) -> bytes:
    """`size` bytes from here, however few a read gives."""
    pieces, left = [], size
    while left:
        piece = reader.read(left)
        if not piece:
            raise _changed("is cut short")
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _wrong_size() -> Refused:
    return Refused("The archive holds a file that is not as large as its header says: pack the archive again.")


def _changed(how: str) -> Refused:
    return Refused(f"The artifact is not the .mar that was recorded, it {how}: it was changed since, restore a copy.")
