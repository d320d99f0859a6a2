"""Reading back the tar archives that Sluice itself wrote, and that someone may have changed since."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.archive import Member
from pipelines.paths import PathSet
from pipelines.tarheaders import BLOCK, Tape, headers
from registry.errors import InvalidInput, Refused
from registry.store import CHUNK, Reader


def read_tar(reader: Reader) -> Iterator[Member]:
    """The files of a tar, in its order; bytes of one that are not used before the next is asked for are never read.

    Raises:
        Refused: the bytes are no tar.
    """
    tape, seen = _SeekableTape(reader), PathSet()
    try:
        for header in headers(tape):
            if header.folder:
                seen.add_folder(header.name)
                continue
            path, start = seen.add(header.name), reader.tell()
            yield Member(path, header.size, _refusing(tape.take(header.size)))
            reader.seek(start + header.size + -header.size % BLOCK)
        tape.end()
    except InvalidInput as error:
        raise _refused(error) from error


class _SeekableTape(Tape):
    """A tape that holds nothing back, so that its reader may be moved between files."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(iter(lambda: reader.read(CHUNK), b""))
        self._reader = reader

    def take(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._reader.read(min(size, CHUNK))
            if not piece:
                raise InvalidInput("The archive is truncated: its end is missing; upload it again.")
            size -= len(piece)
            yield piece


def _refusing(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except InvalidInput as error:
        raise _refused(error) from error


def _refused(error: InvalidInput) -> Refused:
    return Refused(f"The artifact is not the tar it should be ({str(error).rstrip('.')}): restore it from a copy.")
