"""What the headers of a tar say, read from a stream (POSIX.1-2017, pax, "ustar Interchange Format", and GNU's names).

`tarfile` holds extended headers of any size in memory and loops over some damaged ones, so it is used here for what
one block of 512 bytes means and for nothing else.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from registry.errors import InvalidInput, Refused

BLOCK = 512
_EXTENDED_MAX = 64 * 1024
_EXTENDED_RUN = 4
"""A file has at most a pax header and GNU's two for long names."""
_DIGITS = 19

_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_REFUSED_TYPES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class Header(NamedTuple):
    """A file's or a folder's header; a file's bytes follow it, and then zeros up to a whole block."""

    name: str
    size: int
    folder: bool


class Tape:
    """Bytes that are read once, in order."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece, self._at = b"", 0

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes."""
        return b"".join(self.take(size))

    def take(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, in pieces.

        Raises:
            InvalidInput: there are fewer.
        """
        while size:
            if self._at == len(self._piece):
                self._piece, self._at = next(self._pieces, b""), 0
                if not self._piece:
                    raise InvalidInput("The archive is truncated: its end is missing; upload it again.")
            taken = self._piece[self._at : self._at + size]
            self._at += len(taken)
            size -= len(taken)
            yield taken

    def end(self) -> None:
        """Read what is left.

        Raises:
            InvalidInput: it is more than padding.
        """
        for piece in chain((self._piece[self._at :],), self._pieces):
            if piece.count(0) != len(piece):
                raise InvalidInput("The archive goes on after its end: pack everything into one archive.")


def headers(tape: Tape) -> Iterator[Header]:
    """The headers up to the archive's end, with what extended headers say of them; what follows one is to be read
    from `tape` before the next is asked for.

    Raises:
        InvalidInput: the archive is damaged.
        Refused: it holds a link, a device or another thing that is neither a file nor a folder.
    """
    while True:
        extended, info = _extended_run(tape)
        if info is None:
            if extended:
                raise InvalidInput("The archive is damaged: it ends after an extended header; pack it again.")
            return
        name, size = extended.get("path", info.name), _size(extended.get("size", str(info.size)))
        if "GNU.sparse" in extended:
            raise Refused(f"The archive holds a sparse file, {name[:200]!r}: pack it with plain tar.")
        if info.type not in (*_FILES, tarfile.DIRTYPE):
            kind = _REFUSED_TYPES.get(info.type, "something other than a file")
            raise Refused(f"The archive holds {kind}, {name[:200]!r}: pack plain files and folders only.")
        folder = info.type == tarfile.DIRTYPE or name.endswith("/")
        if folder and size:
            raise InvalidInput(f"The archive is damaged: folder {name[:200]!r} has a size; pack it again.")
        yield Header(name, size, folder)


def _extended_run(tape: Tape) -> tuple[Mapping[str, str], tarfile.TarInfo | None]:
    """What extended headers say of the next entry, and that entry; None at the archive's end."""
    extended: dict[str, str] = {}
    for _ in range(_EXTENDED_RUN + 1):
        info = _parse(tape.exactly(BLOCK))
        if info is None or info.type not in _EXTENDED:
            return extended, info
        data = _extended_data(tape, info.size)
        if info.type == tarfile.XHDTYPE:
            extended |= _pax(data)
        elif info.type == tarfile.GNUTYPE_LONGNAME:
            extended["path"] = _text(data.rstrip(b"\0"))
        elif info.type == tarfile.XGLTYPE and _pax(data):
            raise Refused("The archive has a global header that renames or resizes files: pack it with plain tar.")
    raise InvalidInput("The archive has too many extended headers in a row: pack it again.")


def _parse(block: bytes) -> tarfile.TarInfo | None:
    """What a header block says; None for the block of zeros that ends an archive."""
    if block.count(0) == BLOCK:
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except UnicodeDecodeError as error:
        raise _bad_encoding() from error
    except (tarfile.HeaderError, ValueError) as error:
        raise InvalidInput("This is not a gzipped tar archive, or it is damaged: pack it again.") from error
    if info.size < 0:
        raise InvalidInput("The archive is damaged: a file has a negative size; pack it again.")
    return info


def _extended_data(tape: Tape, size: int) -> bytes:
    if size > _EXTENDED_MAX:
        raise Refused(f"The archive has an extended header of {size} bytes: pack it without extended attributes.")
    data = tape.exactly(size)
    tape.exactly(-size % BLOCK)
    return data


def _pax(data: bytes) -> dict[str, str]:
    """What the records of an extended header say of the file's path and size, and whether it is sparse.

    Each record is `length key=value\\n` (POSIX.1-2017, pax, "pax Extended Header"). Values of other keys may be any
    bytes, and are not kept.
    """
    kept, at = {}, 0
    while at < len(data):
        length, space, _ = data[at : at + _DIGITS].partition(b" ")
        end = at + int(length) if space and length.isdigit() else 0
        key, equals, value = data[at + len(length) + 1 : end].partition(b"=")
        if not at < end <= len(data) or not equals or not value.endswith(b"\n"):
            raise InvalidInput("The archive has a damaged extended header: pack it again.")
        if key in (b"path", b"size"):
            kept[key.decode()] = _text(value[:-1])
        elif key.startswith(b"GNU.sparse"):
            kept["GNU.sparse"] = ""
        at = end
    return kept


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _bad_encoding() from error


def _bad_encoding() -> InvalidInput:
    return InvalidInput("The archive names a file in another encoding than UTF-8, or is damaged: rename the file.")


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise InvalidInput(f"The archive is damaged: {text[:40]!r} is not a size; pack it again.")
    return int(text)
