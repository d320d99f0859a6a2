"""Writing a gzipped tar archive as a stream: the same members, in the same order, are the same bytes.

Formats: POSIX pax (IEEE Std 1003.1, "pax Interchange Format") inside gzip (RFC 1952).
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterable, Iterator

from registry.errors import Conflict

_LEVEL = 1
"""Weights hardly compress: the fastest level costs a few per cent of size."""
_GZIP = 31
"""zlib's window bits for a gzip wrapper, which it writes without a time or a name."""


def tar_gz(members: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """An archive of `members`, each a path, a size in bytes and the bytes, as they come; holds one chunk at a time.

    Times, owners and permissions are the same for all. Paths are not checked: that is for whoever knows their source.

    Raises:
        Conflict: a member has more or fewer bytes than its size.
    """
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for piece in _tar(members):
        if squeezed := squeeze.compress(piece):
            yield squeezed
    yield squeeze.flush()


def _tar(members: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    written = 0
    for path, size, chunks in members:
        header = _header(path, size)
        yield header
        yield from _exactly(path, size, chunks)
        padding = -size % tarfile.BLOCKSIZE
        yield bytes(padding)
        written += len(header) + size + padding
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(written + end) % tarfile.RECORDSIZE)


def _header(path: str, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _exactly(path: str, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > size:
            break
        yield chunk
    if seen != size:
        raise Conflict(f"{path!r} does not have the {size} bytes it was listed with: it was replaced, start again.")
