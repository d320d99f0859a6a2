"""Archives that are made block by block, and images to build on."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from gitops.release import Runtime
from pipelines.archive import read_archive
from pipelines.digests import Hashed
from pipelines.image.content import Content
from pipelines.image.images import Destination, Reference
from pipelines.image.layout import LayoutImage
from pipelines.image.wrapped import WrappedDestination
from pipelines.packagers import Packed, PackRequest, packager_for
from pipelines.scanning import Scanner, scanner_name
from registry.facts import Artifact, FileFact, Scan, Signature
from registry.memory import MemoryBlobs
from registry.names import VersionRef
from registry.progress import Silent
from registry.store import Blob
from sluice.demo.base import make_bases

EXAMPLES = Path(__file__).parents[2] / "examples"

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


@pytest.fixture(scope="session")
def look() -> Callable[..., Scanner]:
    """Has files looked at as if they came out of an archive, in pieces of `step` bytes."""

    def run(files: Mapping[str, bytes], step: int = 1 << 20) -> Scanner:
        scanner = Scanner()
        for path, data in files.items():
            pieces = [data[at : at + step] for at in range(0, len(data), step)]
            assert list(scanner.watch(path, pieces)) == pieces  # nothing is kept or changed
        return scanner

    return run


class Sample(NamedTuple):
    """A model as an artifact, made without any step."""

    ref: VersionRef
    scan: Scan
    artifact: Artifact
    data: bytes
    signature: Signature | None

    def blobs(self) -> MemoryBlobs:
        """A store that holds the artifact."""
        blobs = MemoryBlobs()
        assert blobs.put([self.data], what="", progress=Silent()).digest == self.artifact.blob
        return blobs


def scanned(data: bytes) -> Scan:
    """What a scan finds in a training output."""
    scanner, files = Scanner(), []
    for member in read_archive([data]):
        hashed = Hashed(scanner.watch(member.path, member.chunks))
        size = sum(len(chunk) for chunk in hashed)
        files.append(FileFact(path=member.path, size=size, sha256=hashed.digest))
    found = scanner.verdict()
    return Scan(
        source=digest_of(data),
        size=len(data),
        format=found.format,
        root=found.root,
        files=tuple(files),
        findings=scanner.findings(),
        scanner=scanner_name(),
    )


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="session")
def pack() -> Callable[..., Sample]:
    """Packs a training output as version `ref`, read in pieces of `step` bytes: `pack(data, "digits@1")`."""

    def run(data: bytes, ref: str, step: int = 1 << 20, runtime: Runtime | None = None, handler: str = "") -> Sample:
        scan, packed = scanned(data), Packed()
        packager = packager_for(scan, runtime)
        created = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
        request = PackRequest(ref=VersionRef.parse(ref), scan=scan, created_at=created, handler=handler)
        members = read_archive(data[at : at + step] for at in range(0, len(data), step))
        out = b"".join(packager.pack(members, request, packed))
        artifact = Artifact(
            type=packager.type, source=scan.source, blob=digest_of(out), size=len(out), files=tuple(packed.files)
        )
        return Sample(request.ref, scan, artifact, out, packed.signature)

    return run


@pytest.fixture(scope="session")
def digits(pack: Callable[..., Sample]) -> Sample:
    """A TorchScript example, packed."""
    return pack((EXAMPLES / "digits/jobs/digits-2026-11-08/model.tar.gz").read_bytes(), "digits@7")


@pytest.fixture(scope="session")
def wine(pack: Callable[..., Sample]) -> Sample:
    """A SavedModel example, packed."""
    return pack((EXAMPLES / "wine/jobs/wine-2026-11-10/model.tar.gz").read_bytes(), "wine@3")


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder, by path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read


class Recording(WrappedDestination):
    """A destination that remembers what was sent to the one it wraps."""

    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self.puts: list[str] = []
        self.pushes: list[str] = []
        self.tags: list[str] = []

    def put(self, model: str, content: Content) -> Blob:
        blob = super().put(model, content)
        self.puts.append(blob.digest)
        return blob

    def push(self, model: str, manifest: bytes) -> Reference:
        reference = super().push(model, manifest)
        self.pushes.append(reference.digest)
        return reference

    def tag(self, model: str, tag: str, digest: str) -> None:
        super().tag(model, tag, digest)
        self.tags.append(tag)


@pytest.fixture
def recording() -> type[Recording]:
    return Recording


@pytest.fixture
def base(tmp_path: Path) -> Callable[[Runtime], LayoutImage]:
    """A small base image for each model server, in an OCI layout."""
    names = make_bases(tmp_path / "bases")
    return lambda runtime: LayoutImage.parse(names[runtime])
