"""Archives of a few files, and what comes out of them."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator

from pipelines.archive import Limits, read_archive

Files = list[tuple[str, bytes]]
MIB = 1 << 20

GOOD: Files = [
    ("model.pt", bytes(range(256)) * 40),
    ("empty", b""),
    ("code/inference.py", b"print('hello')\n"),
    ("a" * 90 + "/" + "b" * 120 + "/long", b"1" * 513),
    ("größe/модель.txt", "naïve".encode()),
    ("block", b"2" * 512),
]


def tar_of(files: Files, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def read(chunks: Iterable[bytes], limits: Limits | None = None) -> Files:
    return [(member.path, b"".join(member.chunks)) for member in read_archive(chunks, limits)]


def assert_one_sentence(error: Exception) -> None:
    message = str(error)
    assert message.endswith(".")
    assert not message.endswith("..")
    assert len(message) < 500
    assert message.isprintable()


TAR = tar_of(GOOD)
GZ = gzip.compress(TAR, mtime=0)


def bomb(size: int) -> Iterator[bytes]:
    """A tar of one file of `size` zeros, gzipped as it comes."""
    packer = zlib.compressobj(9, wbits=31)
    info = tarfile.TarInfo("zeros")
    info.size = size
    yield packer.compress(info.tobuf(tarfile.PAX_FORMAT))
    for _ in range(size // MIB):
        yield packer.compress(bytes(MIB))
    yield packer.compress(bytes(1024)) + packer.flush()
