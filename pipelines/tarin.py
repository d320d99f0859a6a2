"""Reading back the tar archives that Sluice itself wrote, and that someone may have changed since."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pipelines.archive import Member, read_members
from registry.errors import InvalidInput, Refused
from registry.store import CHUNK, Reader


def read_tar(reader: Reader) -> Iterator[Member]:
    """The files of a tar, in its order; each must be used up, if at all, before the next is asked for.

    Raises:
        Refused: the bytes are no tar.
    """
    pieces = iter(lambda: reader.read(CHUNK), b"")
    try:
        for member in read_members(pieces, most=sys.maxsize):
            yield member._replace(chunks=_chunks(member))
    except InvalidInput as error:
        raise _refused(error) from error


def _chunks(member: Member) -> Iterator[bytes]:
    try:
        yield from member.chunks
    except InvalidInput as error:
        raise _refused(error) from error


def _refused(error: InvalidInput) -> Refused:
    return Refused(f"The artifact is not the tar it should be ({str(error).rstrip('.')}): restore it from a copy.")
