"""Reading a training output, which is hostile until shown otherwise, without unpacking it anywhere.

`tarfile` extracts through links and holds extended headers of any size in memory, so it is used here for what one
512-byte header block means (POSIX.1-2017, pax, "ustar Interchange Format") and for nothing else. Only regular files
come through; folders are implied by paths.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, PositiveInt

from pipelines.paths import PathSet
from registry.errors import InvalidInput, Refused
from registry.store import CHUNK

_BLOCK = 512
_EXTENDED_MAX = 64 * 1024
_RATIO_FLOOR = 64 * CHUNK
"""Below this many bytes a high ratio is no danger."""

_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_REFUSED_TYPES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class Limits(BaseModel):
    """How much an archive may hold before it counts as an attack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: PositiveInt = 20_000
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
    plain = _Gunzip(chunks, limits)
    seen = PathSet()
    for count, header in enumerate(_headers(plain), start=1):
        path = seen.add(header.name)
        if count > limits.files:
            raise Refused(f"The archive holds more than {limits.files} files: pack only what serving needs.")
        data = plain.take(header.size)
        yield Member(path, header.size, data)
        for _ in data:
            pass
        plain.exactly(-header.size % _BLOCK)
    plain.drain()


class _Header(NamedTuple):
    name: str
    size: int


def _headers(plain: _Gunzip) -> Iterator[_Header]:
    """The headers of regular files, with what extended headers say of them."""
    extended: dict[str, str] = {}
    while True:
        info = _parse(plain.exactly(_BLOCK))
        if info is None:
            return
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            data = _extended_data(plain, info)
            if info.type == tarfile.XHDTYPE:
                extended.update(_pax(data))
            elif info.type == tarfile.GNUTYPE_LONGNAME:
                extended["path"] = _text(data.rstrip(b"\0"))
            continue
        name, size = extended.get("path", info.name), _size(extended.get("size", str(info.size)))
        if any(key.startswith("GNU.sparse") for key in extended):
            raise Refused(f"The archive holds a sparse file, {name!r}: pack it with plain tar.")
        extended = {}
        if info.type in _FILES and not (info.type == tarfile.AREGTYPE and name.endswith("/")):
            yield _Header(name, size)
        elif info.type == tarfile.DIRTYPE or info.type == tarfile.AREGTYPE:
            if size:
                raise InvalidInput(f"The archive is damaged: folder {name!r} has a size.")
            PathSet().add(name)
        else:
            kind = _REFUSED_TYPES.get(info.type, "something other than a file")
            raise Refused(f"The archive holds {kind}, {name!r}: pack plain files and folders only.")


def _parse(block: bytes) -> tarfile.TarInfo | None:
    """What a header block says; None for the block of zeros that ends an archive."""
    if block.count(0) == _BLOCK:
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput("This is not a gzipped tar archive, or it is damaged: pack it again.") from error
    if info.size < 0:
        raise InvalidInput("The archive is damaged: a file has a negative size.")
    return info


def _extended_data(plain: _Gunzip, info: tarfile.TarInfo) -> bytes:
    if info.size > _EXTENDED_MAX:
        raise Refused(f"The archive has an extended header of {info.size} bytes: {_EXTENDED_MAX} are enough.")
    data = plain.exactly(info.size)
    plain.exactly(-info.size % _BLOCK)
    return data


def _pax(data: bytes) -> dict[str, str]:
    """The records of an extended header, each `length key=value\\n` (POSIX.1-2017, pax, "pax Extended Header")."""
    records = {}
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 3 <= int(length) <= len(data):
            raise InvalidInput("The archive has a damaged extended header: pack it again.")
        record, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise InvalidInput("The archive has a damaged extended header: pack it again.")
        records[_text(key)] = _text(value[:-1])
    return records


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("The archive names a file in another encoding than UTF-8: rename the file.") from error


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise InvalidInput(f"The archive is damaged: {text[:40]!r} is not a size.")
    return int(text)


class _Gunzip:
    """Bytes out of a gzip stream (RFC 1952), never more than a chunk at a time."""

    def __init__(self, chunks: Iterable[bytes], limits: Limits) -> None:
        self._chunks = iter(chunks)
        self._limits = limits
        self._inflate = zlib.decompressobj(wbits=31)
        self._in, self._out = 0, 0
        self._pending, self._buffer = b"", b""

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes."""
        return b"".join(self.take(size))

    def take(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, in pieces."""
        while size:
            piece = self._buffer or self._next()
            if not piece:
                raise InvalidInput("The archive is truncated: it ends inside a file; upload it again.")
            taken, self._buffer = piece[:size], piece[size:]
            size -= len(taken)
            yield taken

    def drain(self) -> None:
        """Read on to the end of the stream."""
        self._buffer = b""
        while self._next():
            pass

    def _next(self) -> bytes:
        """Some more bytes, b"" at the end of a stream that is whole."""
        while True:
            if self._inflate.eof and not self._next_stream():
                return b""
            if not self._pending and not self._fill():
                raise InvalidInput("The archive is truncated: its gzip stream does not end; upload it again.")
            try:
                out = self._inflate.decompress(self._pending, CHUNK)
            except zlib.error as error:
                raise InvalidInput(f"This is not a gzipped tar archive, or it is damaged ({error}).") from error
            self._pending = self._inflate.unconsumed_tail
            self._count(len(out))
            if out:
                return out

    def _next_stream(self) -> bool:
        """Begin the next gzip member, where there is one; zeros after the last are padding."""
        rest = self._inflate.unused_data.lstrip(b"\0")
        while not rest and self._fill():
            rest = self._pending.lstrip(b"\0")
        self._pending = b""
        if not rest:
            return False
        self._inflate, self._pending = zlib.decompressobj(wbits=31), rest
        return True

    def _fill(self) -> bool:
        self._pending = next(self._chunks, b"")
        self._in += len(self._pending)
        return bool(self._pending)

    def _count(self, size: int) -> None:
        self._out += size
        if self._out > self._limits.size:
            raise Refused(f"The archive holds more than {self._limits.size} bytes: that is over the limit.")
        if self._out > max(_RATIO_FLOOR, self._in * self._limits.ratio):
            raise Refused(
                f"The archive grows more than {self._limits.ratio} times when it is unpacked: it looks like a bomb."
            )
