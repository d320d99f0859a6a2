"""The fields of a zip's headers (PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

LOCAL, CENTRAL, DESCRIPTOR = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
END64, LOCATOR, END = b"PK\x06\x06", b"PK\x06\x07", b"PK\x05\x06"
STORED, DEFLATED = 0, 8
DESCRIPTOR_MAX = 24

_ENCRYPTED, _DEFERRED = 0x0001, 0x0008
_LOCAL, _CENTRAL, _END = struct.Struct("<HHHHHIIIHH"), struct.Struct("<HHHHHHIIIHHHHHII"), struct.Struct("<HHHHIIH")
_END64, _LOCATOR = struct.Struct("<QHHIIQQQQ"), struct.Struct("<IQI")
LOCAL_SIZE, CENTRAL_SIZE, END_SIZE = _LOCAL.size, _CENTRAL.size, _END.size
END64_SIZE, LOCATOR_SIZE = _END64.size, _LOCATOR.size
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_EXTRA, _NAME_EXTRA = 1, 0x7075
_LINK, _KIND = 0xA000, 0xF000
_UNIX = 3


class Ambiguous(Exception):
    """The zip contradicts itself, so that two programs may read two different files in it."""


class Entry(NamedTuple):
    """What one header says of a file; sizes and checksum are 0 in a local header where they follow the file."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int

    @property
    def encrypted(self) -> bool:
        """Whether it takes a password to read the file."""
        return bool(self.flags & _ENCRYPTED)

    @property
    def deferred(self) -> bool:
        """Whether sizes and checksum follow the file, in a descriptor."""
        return bool(self.flags & _DEFERRED)


class Listed(NamedTuple):
    """What the directory says of a file."""

    entry: Entry
    offset: int
    link: bool


class Directory(NamedTuple):
    """What the end of a zip says of its directory; None where a field sends the reader to zip64's."""

    entries: int | None
    size: int | None
    offset: int | None


class Lengths(NamedTuple):
    """How many bytes follow a header's fixed ones."""

    name: int
    extra: int
    comment: int = 0


def local_lengths(fixed: bytes) -> Lengths:
    """What follows a local header's fixed bytes, which come after the signature."""
    return Lengths(*_LOCAL.unpack(fixed)[-2:])


def local(fixed: bytes, name: bytes, extra: bytes) -> Entry:
    """A local header.

    Raises:
        Ambiguous: its zip64 field is damaged, or it has another name in a field.
    """
    _, flags, method, _, _, crc, packed, size, _, _ = _LOCAL.unpack(fixed)
    _one_name(extra, name)
    size, packed, _ = _wide(extra, size, packed, 0)
    entry = Entry(name, flags, method, crc, packed, size)
    return entry._replace(crc=0, packed=0, size=0) if entry.deferred else entry


def central_lengths(fixed: bytes) -> Lengths:
    """What follows a central header's fixed bytes, which come after the signature."""
    return Lengths(*_CENTRAL.unpack(fixed)[9:12])


def central(fixed: bytes, name: bytes, extra: bytes) -> Listed:
    """A header of the directory.

    Raises:
        Ambiguous: its zip64 field is damaged, or it has another name in a field.
    """
    made_by, _, flags, method, _, _, crc, packed, size, _, _, _, _, _, attributes, offset = _CENTRAL.unpack(fixed)
    _one_name(extra, name)
    size, packed, offset = _wide(extra, size, packed, offset)
    link = made_by >> 8 == _UNIX and (attributes >> 16) & _KIND == _LINK
    return Listed(Entry(name, flags, method, crc, packed, size), offset, link)


def descriptor(window: bytes, size: int) -> tuple[int, int]:
    """How long the descriptor in `window` is that says `size` bytes came before it, and the checksum it gives; 0
    where it is none. The sizes of its longer form have eight bytes, so DESCRIPTOR_MAX bytes should be there.
    """
    crc = int.from_bytes(window[4:8], "little")
    if window[8:24] == struct.pack("<QQ", size, size):
        return 24, crc
    if size <= _FULL32 and window[8:16] == struct.pack("<II", size, size):
        return 16, crc
    return 0, 0


def packed_descriptor(window: bytes, packed: int, size: int) -> tuple[int, int]:
    """The same for a file that is compressed, from `size` to `packed` bytes."""
    crc = int.from_bytes(window[4:8], "little")
    if window[:4] != DESCRIPTOR:
        return 0, 0
    if window[8:24] == struct.pack("<QQ", packed, size):
        return 24, crc
    if max(packed, size) <= _FULL32 and window[8:16] == struct.pack("<II", packed, size):
        return 16, crc
    return 0, 0


def hidden_end(tail: bytes, before: int) -> bool:
    """Whether a zip's end is in `tail`, the last bytes of a file, `before` bytes into it.

    Readers do not look at all of its fields, so it is enough that one of them could make something of it: it lies on
    one disk, or has zip64's end before it, or there is room for its directory.
    """
    at = tail.find(END)
    while at >= 0:
        fixed = tail[at + 4 : at + 4 + END_SIZE]
        if fixed.startswith(bytes(4)) or tail.startswith(LOCATOR, max(0, at - LOCATOR_SIZE - 4)):
            return True
        if len(fixed) == END_SIZE:
            entries, size = _END.unpack(fixed)[3:5]
            start = at - size
            seen = start < 0 or tail.startswith(CENTRAL, start)
            if entries * (4 + CENTRAL_SIZE) <= size <= before + at and seen:
                return True
        at = tail.find(END, at + 1)
    return False


def end(fixed: bytes) -> tuple[Directory, int]:
    """The last header, which comes after the signature: the directory, and the length of the comment behind it.

    Raises:
        Ambiguous: the archive goes over several disks.
    """
    disk, start, here, entries, size, offset, comment = _END.unpack(fixed)
    if (disk, start) != (0, 0) or here != entries:
        raise Ambiguous("it says that it goes over several disks")
    return Directory(
        None if entries == _FULL16 else entries,
        None if size == _FULL32 else size,
        None if offset == _FULL32 else offset,
    ), comment


def end64(fixed: bytes) -> Directory:
    """The same of zip64.

    Raises:
        Ambiguous: the archive goes over several disks, or more than the usual fields are there.
    """
    length, _, _, disk, start, here, entries, size, offset = _END64.unpack(fixed)
    if length != _END64.size - 8 or (disk, start) != (0, 0) or here != entries:
        raise Ambiguous("zip64's end is not as it should be")
    return Directory(entries, size, offset)


def locator(fixed: bytes) -> int:
    """Where zip64's end is said to lie.

    Raises:
        Ambiguous: on several disks.
    """
    disk, offset, disks = _LOCATOR.unpack(fixed)
    if disk != 0 or disks > 1:
        raise Ambiguous("it says that it goes over several disks")
    return int(offset)


def _wide(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The three with what zip64's extra field says of those that are full."""
    wide = _zip64(extra)
    values = []
    for value in (size, packed, offset):
        if value == _FULL32 and wide is not None:
            if len(wide) < 8:
                raise Ambiguous("a zip64 field is cut short")
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        values.append(value)
    return values[0], values[1], values[2]


def _zip64(extra: bytes) -> bytes | None:
    found = None
    for tag, data in _fields(extra):
        if tag == _ZIP64_EXTRA:
            if found is not None:
                raise Ambiguous("a file has two zip64 fields")
            found = data
    return found


def _one_name(extra: bytes, name: bytes) -> None:
    """Compare a name with that in Info-ZIP's field (4.6.9), behind a version and a checksum; some readers heed it."""
    if any(tag == _NAME_EXTRA and data[5:] != name for tag, data in _fields(extra)):
        raise Ambiguous("a file has two names")


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        yield tag, extra[at + 4 : at + 4 + length]
        at += 4 + length
