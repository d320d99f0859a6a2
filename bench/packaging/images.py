"""The jobs of `bench.packaging.work` that push to a registry."""

from __future__ import annotations

import hashlib
import http.client
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.packaging.base import SyntheticBase
from bench.packaging.measure import peak_rss, timed
from bench.packaging.model import Kind, archive
from bench.packaging.places import FolderBlobs, JustStored, MadeOutputs, chunks_of
from bench.packaging.servers import Counting, requests_in
from pipelines.image.builder import Builder
from pipelines.image.images import BaseImage
from pipelines.image.recipes import StoredRecipes
from pipelines.image.remote.destination import RegistryDestination
from pipelines.image.remote.image import RemoteImage
from pipelines.image.remote.names import ImageName, Place
from pipelines.image.remote.transport import Transport
from pipelines.steps.build import BuildInput, build
from pipelines.steps.package import PackageInput, package
from registry.facts import Artifact, Source
from registry.memory import MemoryStore
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage

_QUIET = Silent()


def push_base(told: dict[str, str]) -> dict[str, Any]:
    """Put a base of `layers=` of `size=` bytes each to `host=`, as `base/server:1`."""
    base = SyntheticBase(int(told["layers"]), int(told["size"]))
    destination = RegistryDestination(Place.parse(f"{told['host']}/base"), Transport(told["host"]))
    return timed(lambda: str(base.push(destination, "server", "1"))) | {"rss": peak_rss()}


class _Bench:
    """One registry of models, and one of images, over several builds."""

    def __init__(self, told: dict[str, str]) -> None:
        self._told, self._store = told, MemoryStore()
        self._blobs = FolderBlobs(Path(told["folder"]))
        self._log = Path(told["log"])
        self._counting = Counting(told["host"]) if told.get("count") else None
        host = self._counting.host if self._counting else told["host"]
        self._transport = Transport(host)
        self._destination = RegistryDestination(Place.parse(f"{host}/{told['place']}"), self._transport)

    def packaged(self, note: str, model: str = "bench") -> tuple[Registry, VersionRef]:
        """A new version, packaged; another `note`, another handler."""
        kind, size = Kind(self._told["kind"]), int(self._told["size"])

        def make() -> Iterator[bytes]:
            return archive(kind, size, note)

        length = sum(map(len, make()))
        outputs = MadeOutputs(make, length)
        storage = Storage(self._store, outputs, self._blobs, JustStored())
        registry = Registry(storage)
        source = Source(uri=f"s3://training/{note}/model.tar.gz", etag='"0"', size=length)
        ref = registry.register(model, source, actor="bench").version.ref
        package(PackageInput(ref=ref), outputs, registry, self._blobs, _QUIET)
        return registry, ref

    def base(self) -> BaseImage:
        """The base that is in the registry already."""
        return RemoteImage(ImageName.parse(f"{self._transport.host}/base/server:1"), self._transport)

    def build(self, registry: Registry, ref: VersionRef) -> dict[str, Any]:
        """Build a version's image, and count."""
        before, up = len(requests_in(self._log)), self._counting.up if self._counting else 0
        builder = Builder(self._blobs, StoredRecipes(self._store), self._destination, _QUIET)

        def work() -> str:
            made = build(BuildInput(ref=ref), registry, builder, lambda _: self.base(), self._destination, _QUIET)
            return made.reference

        done = timed(work)
        time.sleep(0.2)  # the registry writes its log after its answer
        asked = requests_in(self._log)[before:]
        blobs = [path for method, path, _ in asked if method == "PATCH" or (method == "PUT" and "/blobs/" in path)]
        return done | {
            "requests": len(asked),
            "blobs": len({path.partition("?")[0] for path in blobs}),
            "up": (self._counting.up if self._counting else 0) - up,
        }


def building(told: dict[str, str]) -> dict[str, Any]:
    """Build an image of a new version; then of the same one again, whose image nobody remembers; then of one with
    another handler."""
    bench = _Bench(told)
    registry, ref = bench.packaged("first")
    artifact = registry.fact(ref, Artifact)
    result = {"first": bench.build(registry, ref), "size": artifact.size if artifact else 0}
    result |= {"again": bench.build(_Forgetful(registry), ref), "rss": peak_rss()}
    if told.get("handler"):
        result["handler"] = bench.build(*bench.packaged("second"))
    return result


class _Forgetful:
    """A registry that does not know of images."""

    def __init__(self, inner: Registry) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def fact(self, ref: VersionRef, kind: type) -> Any:
        """None for an image."""
        return None if kind.__name__ == "Image" else self._inner.fact(ref, kind)


def copying(told: dict[str, str]) -> dict[str, Any]:
    """Copy a base of `layers=` of `size=` bytes each to where no part of it is; again, where it was killed before."""
    base = SyntheticBase(int(told["layers"]), int(told["size"]))
    print("ready", flush=True)
    destination = RegistryDestination(Place.parse(f"{told['host']}/copied"), Transport(told["host"]))
    return timed(lambda: str(base.push(destination, "server", "1"))) | {"rss": peak_rss()}


def sending(told: dict[str, str]) -> dict[str, Any]:
    """Nothing but a file's bytes to a registry, hashed as they go, as one PATCH: what any client has to do."""
    path, host = Path(told["file"]), told["host"]

    def work() -> str:
        connection = http.client.HTTPConnection(host, timeout=600)
        location = _asked(connection, "POST", f"/v2/{told['place']}/blobs/uploads/")
        digest, left = hashlib.sha256(), path.stat().st_size
        target = location.removeprefix(f"http://{host}")
        connection.putrequest("PATCH", target)
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", str(left))
        connection.endheaders()
        for chunk in chunks_of(path):
            digest.update(chunk)
            connection.send(chunk)
        answer = connection.getresponse()
        answer.read()
        target = answer.headers["Location"].removeprefix(f"http://{host}")
        mark = "&" if "?" in target else "?"
        _asked(connection, "PUT", f"{target}{mark}digest=sha256:{digest.hexdigest()}")
        connection.close()
        return digest.hexdigest()

    return timed(work)


def _asked(connection: http.client.HTTPConnection, method: str, target: str) -> str:
    connection.request(method, target, headers={"Content-Length": "0"})
    answer = connection.getresponse()
    said = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {target}: {answer.status} {said!r}")
    return answer.headers["Location"]
