"""What is measured, each in a process of its own: `python -m bench.packaging.work JOB key=value …` prints JSON."""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.packaging.images import building, copying, push_base, sending
from bench.packaging.measure import no_files, peak_rss, timed
from bench.packaging.model import Kind, archive
from bench.packaging.places import DroppedBlobs, FolderBlobs, JustStored, MadeOutputs, chunks_of
from pipelines.archive import Limits
from pipelines.gunzip import gunzip
from pipelines.steps.package import PackageInput, package
from pipelines.steps.scan import scan
from registry.aws import Clients
from registry.facts import Source
from registry.memory import MemoryStore
from registry.outputs import Outputs
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage
from registry.store import Blobs


def source_of(told: dict[str, str]) -> tuple[Callable[[], Iterator[bytes]], int]:
    """The archive's bytes, and how many: of a file, else made on the fly."""
    if "file" in told:
        path = Path(told["file"])
        return lambda: chunks_of(path), path.stat().st_size
    kind, weights = Kind(told["kind"]), int(told["size"])
    return lambda: archive(kind, weights), sum(map(len, archive(kind, weights)))


def packaging(told: dict[str, str]) -> dict[str, Any]:
    """Scan and package: `file=` or `kind=` and `size=`, or `bucket=` and `key=`; to `folder=`, to S3, or to nowhere."""
    outputs: Outputs
    blobs: Blobs
    if "bucket" in told:
        storage = Storage.s3(Clients(), told["bucket"])
        outputs, blobs = storage.outputs, storage.blobs
        source = Source(uri=f"s3://{told['bucket']}/{told['key']}", etag=told["etag"], size=int(told["size"]))
    else:
        make, size = source_of(told)
        outputs = MadeOutputs(make, size)
        blobs = FolderBlobs(Path(told["folder"])) if "folder" in told else DroppedBlobs()
        storage = Storage(MemoryStore(), outputs, blobs, JustStored())
        source = Source(uri="s3://training/model.tar.gz", etag='"0"', size=size)
    registry, quiet = Registry(storage), Silent()
    ref = registry.register("bench", source, actor="bench").version.ref
    if "folder" not in told:
        no_files()
    scanned = timed(lambda: scan(ref, outputs, registry, Limits(), quiet).source)
    packaged = timed(lambda: package(PackageInput(ref=ref), outputs, registry, blobs, quiet).model_dump(mode="json"))
    return {"scan": scanned, "package": packaged, "rss": peak_rss()}


def floor(told: dict[str, str]) -> dict[str, Any]:
    """Nothing but unpack and hash what is inside, one after the other."""
    make, _ = source_of(told)

    def work() -> str:
        digest = hashlib.sha256()
        for chunk in gunzip(make(), Limits()):
            digest.update(chunk)
        return digest.hexdigest()

    return timed(work)


def unzipping(told: dict[str, str]) -> dict[str, Any]:
    """Nothing but unpack, with a library of that name."""
    library: Any = zlib if told["library"] == "zlib" else import_module(told["library"])
    make, _ = source_of(told)

    def work() -> int:
        inflate, given = library.decompressobj(wbits=31), 0
        for chunk in make():
            for at in range(0, len(chunk), 1 << 17):
                piece = chunk[at : at + (1 << 17)]
                while piece:
                    given += len(inflate.decompress(piece, 1 << 20))
                    piece = inflate.unconsumed_tail
        return given

    return timed(work)


JOBS = {
    "package": packaging,
    "floor": floor,
    "unzip": unzipping,
    "push base": push_base,
    "build": building,
    "copy": copying,
    "send": sending,
}


def main() -> None:
    """Do one job."""
    job, *told = sys.argv[1:]
    print(json.dumps(JOBS[job](dict(item.split("=", 1) for item in told))))


if __name__ == "__main__":
    main()
