"""What packaging costs beside time: requests, memory, and no file at all."""

from __future__ import annotations

import io
import random
import resource
import tarfile
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipelines.archive import Limits
from pipelines.steps.package import PackageInput, package
from pipelines.steps.scan import scan
from registry.aws import Clients
from registry.facts import Artifact, Source, SourceKind, Version
from registry.memory import MemoryBlobs, MemoryBytes, MemoryStore
from registry.progress import Progress, Silent
from registry.registry import Registry
from registry.storage import Storage
from registry.store import CHUNK, Blob

Zipped = Callable[[Iterable[tuple[str, bytes]]], bytes]


@pytest.fixture
def archive(zipped: Zipped) -> Callable[[int], bytes]:
    """Makes a model.tar.gz of TorchScript with so many MiB of weights that no compression makes smaller."""

    def make(mebibytes: int) -> bytes:
        weights = random.Random(5).randbytes(mebibytes * CHUNK)
        model = zipped(
            [
                ("m/data.pkl", b"\x80\2}."),
                ("m/code/m.py", b""),
                ("m/data/0", weights),
                ("m/constants.pkl", b"\x80\2)."),
                ("m/version", b"3\n"),
            ]
        )
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            info = tarfile.TarInfo("model.pt")
            info.size = len(model)
            tar.addfile(info, io.BytesIO(model))
        squeeze = zlib.compressobj(0, zlib.DEFLATED, 31)
        return squeeze.compress(out.getvalue()) + squeeze.flush()

    return make


def packaged(storage: Storage, source: Source) -> Artifact:
    registry = Registry(storage)
    ref = registry.register("m", source, actor="ann").version.ref
    scan(ref, storage.outputs, registry, Limits(), Silent())
    return package(PackageInput(ref=ref), storage.outputs, registry, storage.blobs, Silent())


class Given:
    """A training output that is read from memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def own(self, source: Source) -> str:
        return "outputs/" + "0" * 32

    def chunks(self, version: Version) -> Iterator[bytes]:
        return (self._data[at : at + CHUNK] for at in range(0, len(self._data), CHUNK))

    def size(self, key: str) -> int | None:
        return len(self._data)


class Dropped(MemoryBlobs):
    """Blobs of which only the name stays, and one that is told as stored."""

    def put(self, chunks: Iterable[bytes], *, what: str, progress: Progress) -> Blob:
        size = sum(map(len, chunks))
        super().put([b"x"], what=what, progress=progress)
        return Blob("sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", size)


@contextmanager
def no_file_may_be_written() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_memory_is_the_same_for_any_size_and_no_file_is_written(archive: Callable[[int], bytes]) -> None:
    def peak(mebibytes: int) -> int:
        data = archive(mebibytes)
        place = MemoryBytes()
        storage = Storage(MemoryStore(), Given(data), Dropped(place), place)
        place.put("outputs/" + "0" * 32, b"")
        source = Source(uri="s3://training/model.tar.gz", etag='"0"', size=len(data))
        tracemalloc.start(1)
        try:
            with no_file_may_be_written():
                assert packaged(storage, source).size > mebibytes * CHUNK
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is loaded once is not counted
    small, large = peak(24), peak(72)
    assert large < small + 4 * CHUNK, (small, large)
    assert large < 32 * CHUNK


def test_the_test_above_would_see_a_file(tmp_path: Any) -> None:
    with no_file_may_be_written(), pytest.raises(OSError, match="too large"):
        (tmp_path / "x").write_bytes(b"x")


@pytest.mark.parametrize("mebibytes", [16, 48])
def test_requests_are_as_many_as_the_size_needs(
    mebibytes: int, archive: Callable[[int], bytes], clients: Clients, new_bucket: Callable[[], str]
) -> None:
    """Of the large bytes; records go another way. 8 MiB are one request, in either direction."""
    bucket, data = new_bucket(), archive(mebibytes)
    s3 = clients.s3()
    etag = s3.put_object(Bucket=bucket, Key="train/model.tar.gz", Body=data)["ETag"]
    seen: Counter[str] = Counter()

    def count(event_name: str, **_: object) -> None:
        seen[event_name.rpartition(".")[2]] += 1

    s3.meta.events.register("before-send.s3", count)
    source = Source(kind=SourceKind.S3, uri=f"s3://{bucket}/train/model.tar.gz", etag=etag, size=len(data))
    artifact = packaged(Storage.s3(clients, bucket), source)
    s3.meta.events.unregister("before-send.s3", count)
    assert seen.pop("GetObject") == 2 * -(-len(data) // (8 * CHUNK))  # the scan reads it, too
    assert seen.pop("UploadPart") == -(-artifact.size // (8 * CHUNK))
    assert seen.total() < 20, seen
