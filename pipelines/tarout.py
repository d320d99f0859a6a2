"""Writing tar archives that are a pure function of their members: one owner, one mode, one time, as a stream.

Format: POSIX.1-2017 pax, so that long paths and files over 8 GiB fit.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that it can be shown on a bare interpreter that all releases of Python write the same
    from pipelines.archive import Member

_BLOCK = 512
_RECORD = 20 * _BLOCK


def write_tar(members: Iterable[Member], *, folders: Iterable[str] = (), owner: int = 0) -> Iterator[bytes]:
    """The bytes of a tar of `folders`, outermost first, and then of `members`, each owned by user and group `owner`."""
    written = 0
    for folder in folders:
        header = _header(folder.rstrip("/") + "/", 0, owner)
        written += len(header)
        yield header
    for member in members:
        header = _header(member.path, member.size, owner)
        yield header
        yield from member.chunks
        padding = b"\0" * (-member.size % _BLOCK)
        if padding:
            yield padding
        written += len(header) + member.size + len(padding)
    yield b"\0" * _end(written)


def tar_size(files: Iterable[tuple[str, int]], *, folders: Iterable[str] = (), owner: int = 0) -> int:
    """How many bytes `write_tar` makes of files with these paths and sizes."""
    written = sum(len(_header(folder.rstrip("/") + "/", 0, owner)) for folder in folders)
    written += sum(len(_header(path, size, owner)) + size + -size % _BLOCK for path, size in files)
    return written + _end(written)


def _end(written: int) -> int:
    """How many zeros end a tar: two blocks, and more up to a whole record."""
    end = 2 * _BLOCK
    return end + -(written + end) % _RECORD


def _header(path: str, size: int, owner: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mtime = size, 0
    info.uid = info.gid = owner
    info.mode = 0o755 if path.endswith("/") else 0o644
    info.type = tarfile.DIRTYPE if path.endswith("/") else tarfile.REGTYPE
    return info.tobuf(tarfile.PAX_FORMAT)
