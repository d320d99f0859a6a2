"""Archives that are made block by block, and images to build on."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

Entry = bytes
"""Whole blocks of a tar: a header and what belongs to it."""


class Tars:
    """Makes tars that `tarfile` and `tar` would not make."""

    def header(
        self, name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "", raw: Mapping[str, bytes] = {}
    ) -> bytes:
        """A header block with a right checksum; `raw` puts bytes into fields as they are."""
        info = tarfile.TarInfo(name)
        info.size, info.type, info.linkname = size, kind, link
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT)[-512:])
        places = {"name": (0, 100), "size": (124, 12), "prefix": (345, 155)}
        for field, data in raw.items():
            start, length = places[field]
            block[start : start + length] = data.ljust(length, b"\0")
        block[148:156] = b" " * 8
        block[148:156] = f"{sum(block):06o}\0 ".encode()
        return bytes(block)

    def file(self, name: str, data: bytes = b"x", raw: Mapping[str, bytes] = {}) -> Entry:
        return self.header(name, len(data), raw=raw) + self._padded(data)

    def pax(self, records: bytes, kind: bytes = tarfile.XHDTYPE) -> Entry:
        return self.header("PaxHeader", len(records), kind) + self._padded(records)

    def record(self, key: str, value: bytes) -> bytes:
        """One record of a pax header; its length counts its own digits."""
        rest = b" " + key.encode() + b"=" + value + b"\n"
        length = len(rest) + 1
        while len(str(length)) + len(rest) > length:
            length += 1
        return str(length).encode() + rest

    def long_name(self, name: bytes, kind: bytes = tarfile.GNUTYPE_LONGNAME) -> Entry:
        return self.header("././@LongLink", len(name) + 1, kind) + self._padded(name + b"\0")

    def tar(self, *entries: Entry) -> bytes:
        return b"".join(entries) + bytes(1024)

    def gz(self, *entries: Entry) -> bytes:
        return gzip.compress(self.tar(*entries), mtime=0)

    @staticmethod
    def _padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 512)


@pytest.fixture(scope="session")
def tars() -> Tars:
    return Tars()


@pytest.fixture(scope="session")
def zipped() -> Callable[[Iterable[tuple[str, bytes]]], bytes]:
    """A zip of names and bytes, stored as torch does it."""

    def make(files: Iterable[tuple[str, bytes]]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name, data in files:
                archive.writestr(zipfile.ZipInfo(name), data)
        return out.getvalue()

    return make


@pytest.fixture
def members_of() -> Callable[..., list[tuple[str, bytes]]]:
    """Reads every member of an archive that comes in chunks: paths and bytes."""
    from pipelines.archive import read_archive

    def read(chunks: Iterable[bytes], *arguments: object) -> list[tuple[str, bytes]]:
        return [(member.path, b"".join(member.chunks)) for member in read_archive(chunks, *arguments)]

    return read


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder, by path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read
