"""Training outputs that mean harm, and a version of one in stores of its own."""

from __future__ import annotations

import gzip
import io
import resource
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipelines.archive import Limits
from pipelines.steps.package import PackageInput, package
from pipelines.steps.scan import scan
from registry.facts import Artifact, Scan, Severity, Source, SourceKind
from registry.memory import MemoryBlobs, MemoryBytes, MemoryOutputs, MemoryStore, etag_of
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage
from tests.pipelines.archives import tar_of

MIB = 1 << 20
EXAMPLES = Path(__file__).parents[3] / "examples"
URI = "s3://training/model.tar.gz"


class Step(NamedTuple):
    """A version of a training output, and the stores the steps write to."""

    ref: VersionRef
    registry: Registry
    outputs: MemoryOutputs
    blobs: MemoryBlobs

    @classmethod
    def of(cls, data: bytes) -> Step:
        place = MemoryBytes()
        blobs, outputs = MemoryBlobs(place), MemoryOutputs(place, {URI: data})
        registry = Registry(Storage(MemoryStore(), outputs, blobs, place))
        source = Source(kind=SourceKind.S3, uri=URI, etag=etag_of(data), size=len(data))
        return cls(registry.register("m", source, actor="tests").version.ref, registry, outputs, blobs)

    def scan(self, limits: Limits | None = None) -> Scan:
        return scan(self.ref, self.outputs, self.registry, limits or Limits(), Silent())

    def package(self, refuse: Severity | None = Severity.DANGER, limits: Limits | None = None) -> Artifact:
        wanted = PackageInput(ref=self.ref, refuse=refuse, limits=limits or Limits())
        return package(wanted, self.outputs, self.registry, self.blobs, Silent())

    def stored(self) -> set[str]:
        """The keys of what is there beside the training output itself."""
        return {found.key for found in self.blobs.bytes.objects("blobs/")}


@contextmanager
def no_file_may_be_written() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def example() -> dict[str, bytes]:
    """A TorchScript file, entry by entry."""
    with tarfile.open(EXAMPLES / "digits/jobs/digits-2026-11-08/model.tar.gz") as tar:
        file = tar.extractfile(tar.next())  # type: ignore[arg-type]
        assert file is not None
        with zipfile.ZipFile(io.BytesIO(file.read())) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


SCRIPT = example()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tar_of(list(files.items())), 1, mtime=0)


def calls(module: str, name: str, protocol: int = 2) -> bytes:
    argument = b"X\x01\0\0\0x\x85R."
    if protocol < 4:
        return f"\x80\x02c{module}\n{name}\n".encode("latin-1") + argument
    parts = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
    return b"\x80\x04" + parts + b"\x93" + argument


def deflated_zeros() -> bytes:
    return zipped({**SCRIPT, "model/zeros": bytes(100 * MIB)}, zipfile.ZIP_DEFLATED)


SYSTEM = calls("os", "system")
