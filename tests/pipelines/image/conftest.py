"""Models and bases that are made of a few bytes, and places for them that other processes can use too.

A child process of a test loads this file by its path.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from gitops.release import Runtime
from pipelines.archive import Member
from pipelines.digests import wanted_verified
from pipelines.image.assembly import BuildRequest
from pipelines.image.builder import Builder, Built
from pipelines.image.content import Content, Data
from pipelines.image.images import BaseImage, Destination, Reference
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.oci import CONFIG_TYPE, LAYER_TYPE, Descriptor, Layer, Manifest, canonical, dump
from pipelines.packagers import Concern, Layout
from pipelines.tarin import read_tar
from pipelines.tarout import write_tar
from registry.facts import Artifact, FileFact
from registry.names import VersionRef
from registry.progress import Progress, Silent
from registry.store import CHUNK, Blob, Blobs, Reader

CREATED = "2026-11-20T12:30:00Z"
LABELS = {"org.opencontainers.image.title": "fraud", "b": "ü"}
FILES = {
    "weights.bin": sha256(b"w").digest() * 40_000,
    "code/handler.py": b"def handle(): ...\n",
    "code/empty.py": b"",
    "names.txt": b"a\nb\n",
}


def digest_of(data: bytes) -> str:
    return "sha256:" + sha256(data).hexdigest()


class TarPackager:
    """A packager whose artifact is a plain tar."""

    type = "saved-model"

    def __init__(self, runtime: Runtime = Runtime.TORCHSERVE, env: Mapping[str, str] = {}) -> None:
        self.runtime, self._env = runtime, env

    def pack(self, *_: object) -> Iterator[bytes]:
        raise AssertionError("nothing is packed here")

    def unpack(self, reader: Reader, artifact: Artifact, wanted: Collection[str] | None = None) -> Iterator[Member]:
        return wanted_verified(read_tar(reader), artifact.files, wanted)

    def concern(self, path: str) -> Concern:
        return Concern.CODE if path.endswith(".py") else Concern.WEIGHTS

    def layout(self, ref: VersionRef, artifact: Artifact) -> Layout:
        config = {"config.properties": b"x=1\n", "conf.d/more": b"y\n"}
        return Layout(folder=f"store/{ref.model}", config=config, env=self._env)


class FolderBlobs:
    """Blobs in a folder, each a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, chunks: Iterable[bytes], *, what: str = "", progress: Progress | None = None) -> Blob:
        data = b"".join(chunks)
        (self._folder / digest_of(data)).write_bytes(data)
        return Blob(digest_of(data), len(data))

    def open(self, digest: str) -> AbstractContextManager[Reader]:
        return (self._folder / digest).open("rb")

    def size(self, digest: str) -> int | None:
        return (self._folder / digest).stat().st_size

    def chunks(self, digest: str) -> Iterator[bytes]:
        with self.open(digest) as file:
            yield from iter(lambda: file.read(CHUNK), b"")


class FolderRecipes:
    """Recipes in a folder, each a file that is whole or not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def known(self, recipe: str) -> Layer | None:
        path = self._folder / recipe
        return Layer.model_validate_json(path.read_bytes()) if path.exists() else None

    def keep(self, recipe: str, layer: Layer) -> None:
        part = self._folder / f".{uuid4()}"
        part.write_text(layer.model_dump_json())
        part.replace(self._folder / recipe)


class Model(NamedTuple):
    """A version that is packaged."""

    request: BuildRequest
    packager: TarPackager
    blobs: Blobs

    def build(self, base: BaseImage, destination: Destination, recipes: Any, **changes: Any) -> Built:
        builder = Builder(self.blobs, recipes, destination, Silent())
        return builder.build(self.request.model_copy(update=changes), self.packager, base)


def make_model(
    folder: Path,
    files: Mapping[str, bytes] = FILES,
    runtime: Runtime = Runtime.TORCHSERVE,
    env: Mapping[str, str] = {},
    **changes: Any,
) -> Model:
    """Files as the artifact of `fraud@7`, in `folder`; a file of 1 MB or more is a layer of its own."""
    members = (Member(path, len(data), iter((data,))) for path, data in files.items())
    blob = FolderBlobs(folder).put(write_tar(members))
    facts = tuple(FileFact(path=path, size=len(data), sha256=digest_of(data)) for path, data in files.items())
    artifact = Artifact(type="saved-model", source=digest_of(b"source"), blob=blob.digest, size=blob.size, files=facts)
    request = BuildRequest(
        ref=VersionRef.parse("fraud@7"),
        artifact=artifact,
        created=CREATED,
        labels=LABELS,
        **{"own_layer_from": 1_000_000, **changes},
    )
    return Model(request, TarPackager(runtime, env), FolderBlobs(folder))


def tar_of(files: Mapping[str, bytes]) -> bytes:
    return b"".join(write_tar([Member(path, len(data), iter((data,))) for path, data in files.items()]))


BASE_CONFIG: Mapping[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Env": ["PATH=/usr/bin:/bin", "HOME=/root"], "Cmd": ["sh"], "Labels": {"kept": "yes", "b": "old"}},
}


def make_base(
    folder: Path,
    layers: Iterable[bytes] = (tar_of({"etc/os-release": b"ID=a\n"}), tar_of({"etc/more": b"more\n"})),
    config: Mapping[str, Any] = BASE_CONFIG,
    types: Mapping[str, str] = {},
    name: str = "server",
) -> LayoutImage:
    """A base image in an OCI layout below `folder`, with other media types where `types` has them."""
    layout, given = LayoutDestination(folder), tuple(layers)
    put = [layout.put(name, Data(layer)) for layer in given]
    diff_ids = {"rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in given]}}
    data = canonical({**diff_ids, **config})
    blob = layout.put(name, Data(data))
    manifest = Manifest(
        media_type=types.get("manifest", "application/vnd.oci.image.manifest.v1+json"),
        config=Descriptor(media_type=types.get("config", CONFIG_TYPE), digest=blob.digest, size=blob.size),
        layers=tuple(
            Descriptor(media_type=types.get("layer", LAYER_TYPE), digest=one.digest, size=one.size) for one in put
        ),
    )
    digest = layout.push(name, dump(manifest)).digest
    layout.tag(name, f"t{digest[7:15]}", digest)
    return LayoutImage(layout.folder(name), f"t{digest[7:15]}")


class InRegistry:
    """An image that a cluster could pull, read from a folder."""

    def __init__(self, inner: LayoutImage, repository: str = "registry.example/servers/torchserve") -> None:
        self._inner, self._repository = inner, repository

    @property
    def reference(self) -> Reference | None:
        return Reference(self._repository, digest_of(self.manifest()))

    def manifest(self) -> bytes:
        return self._inner.manifest()

    def content(self, descriptor: Descriptor) -> Content:
        return self._inner.content(descriptor)


class Recording:
    """A destination that remembers what was asked of the one it wraps."""

    def __init__(self, inner: Destination) -> None:
        self._inner = inner
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*arguments: Any) -> Any:
            result = method(*arguments)
            told = result.digest if name in ("put", "push") else arguments[-1]
            self.calls.append((name, str(told)))
            return result

        return call

    @property
    def asked(self) -> list[str]:
        return [name for name, _ in self.calls]

    @property
    def put_digests(self) -> list[str]:
        return [digest for name, digest in self.calls if name == "put"]


class Read:
    """An image as another program sees it: the files of a layout, and nothing of Sluice's."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder
        self.manifest = json.loads(self.blob({"digest": digest}))
        self.config = json.loads(self.blob(self.manifest["config"]))
        self.layers = [self.blob(layer) for layer in self.manifest["layers"]]

    def blob(self, descriptor: Mapping[str, Any]) -> bytes:
        algorithm, _, name = descriptor["digest"].partition(":")
        data = (self.folder / "blobs" / algorithm / name).read_bytes()
        assert (descriptor.get("size", len(data)), sha256(data).hexdigest()) == (len(data), name)
        return data

    def root(self, under: int = 0) -> dict[str, tuple[str, int, int, int, bytes]]:
        """The file system of the layers from `under` on: kind, mode, owner, group and bytes by path."""
        found = {}
        for layer in self.layers[under:]:
            for info, data in entries(layer):
                assert info.mtime == 0
                found[info.name] = ("file" if info.isreg() else "folder", info.mode, info.uid, info.gid, data)
        return found


def entries(layer: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    """What a layer that is not compressed holds."""
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:") as tar:
        return [(info, file.read() if (file := tar.extractfile(info)) else b"") for info in tar]


class LoggedRegistry:
    """Debian's docker-registry on this machine, which tells what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        config = {
            "version": "0.1",
            "log": {"accesslog": {"disabled": False}, "level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
            "http": {"addr": self.host, "secret": "one for this run"},
        }
        (folder / "config.yml").write_text(json.dumps(config))
        with self._log.open("wb") as log:
            command = ["docker-registry", "serve", str(folder / "config.yml")]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._await()

    def _await(self) -> None:
        deadline = time.monotonic() + 60
        host, port = self.host.split(":")
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=5).close()
            except OSError:
                assert self.process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, "docker-registry does not listen"
                time.sleep(0.05)
            else:
                return

    def requests(self) -> list[str]:
        """What was asked so far, as `GET /v2/…`."""
        return re.findall(r'"([A-Z]+ /v2/[^ "]*) HTTP', self._log.read_text())


@pytest.fixture(scope="session")
def logged_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggedRegistry]:
    if not shutil.which("docker-registry"):
        pytest.skip("Install docker-registry (Debian's package of that name) to see images pushed to a registry.")
    running = LoggedRegistry(tmp_path_factory.mktemp("registry"))
    yield running
    running.process.terminate()
    running.process.wait(30)


@pytest.fixture
def kit() -> Any:
    """This file, for what tests make themselves."""
    import sys

    return sys.modules[__name__]


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Model]:
    """Makes a packaged version: `model(files)`."""
    (tmp_path / "blobs").mkdir()
    return lambda *arguments, **named: make_model(tmp_path / "blobs", *arguments, **named)


@pytest.fixture
def base(tmp_path: Path) -> LayoutImage:
    return make_base(tmp_path / "bases")


@pytest.fixture
def recipes(tmp_path: Path) -> FolderRecipes:
    return FolderRecipes(tmp_path / "recipes")
