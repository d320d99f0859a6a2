"""Reading back the tar archives that Sluice itself wrote."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO, cast

from pipelines.archive import Member
from registry.errors import Refused
from registry.store import CHUNK, Reader


def read_tar(reader: Reader) -> Iterator[Member]:
    """The files of a tar, in its order; each must be used up, if at all, before the next is asked for.

    Raises:
        Refused: the bytes are no tar.
    """
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", reader), mode="r:") as tar:
            for info in tar:
                if info.isreg():
                    yield Member(info.name, info.size, _chunks(tar, info))
    except tarfile.TarError as error:
        raise Refused(f"The artifact is not the tar it should be ({error}): package the version again.") from error


def _chunks(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(info)
    assert file is not None  # noqa: S101  # it is a regular file
    with file:
        while chunk := file.read(CHUNK):
            yield chunk
