"""The build and commit steps: what is told of an image, and which of two images git is to name."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gitops.release import Deployed, Runtime
from pipelines.image.builder import Builder
from pipelines.image.compression import Compression
from pipelines.image.content import Content
from pipelines.image.images import Destination, Reference
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.oci import Descriptor
from pipelines.image.recipes import StoredRecipes
from pipelines.image.wrapped import WrappedDestination
from pipelines.steps.build import BuildInput, build
from pipelines.steps.commit import CommitInput, promotion
from registry.errors import Conflict
from registry.facts import Delivery, Image, Source, SourceKind
from registry.memory import MemoryBlobs, MemoryBytes, MemoryOutputs, MemoryStore, etag_of
from registry.names import VersionRef
from registry.registry import Registry
from registry.storage import Storage

SERVER = "registry.example/servers/torchserve"


class InRegistry:
    """An image that a cluster could pull, read from a folder."""

    def __init__(self, inner: LayoutImage) -> None:
        self._inner = inner

    @property
    def reference(self) -> Reference | None:
        return Reference(SERVER, "sha256:" + "5" * 64)

    def manifest(self) -> bytes:
        return self._inner.manifest()

    def content(self, descriptor: Descriptor) -> Content:
        return self._inner.content(descriptor)


class Told:
    """Progress that keeps its facts."""

    def __init__(self) -> None:
        self.facts: list[str] = []

    def bytes(self, what: str, done: int, total: int | None) -> None:
        pass

    def fact(self, text: str) -> None:
        self.facts.append(text)


class Bench(NamedTuple):
    """A version that is packaged, and what the build step is handed."""

    ref: VersionRef
    registry: Registry
    blobs: MemoryBlobs
    recipes: StoredRecipes
    builder: Builder
    destination: Destination
    base: Callable[[Runtime], Any]
    told: Told

    def at(self, folder: Path) -> Bench:
        """The same with another destination."""
        destination = LayoutDestination(folder)
        builder = Builder(self.blobs, self.recipes, destination, self.told)
        return self._replace(destination=destination, builder=builder)

    def build(self, delivery: Delivery, compression: Compression = Compression.NONE) -> Image:
        wanted = BuildInput(ref=self.ref, delivery=delivery, compression=compression)
        return build(wanted, self.registry, self.builder, self.base, self.destination, self.told)


@pytest.fixture
def bench(digits: Any, base: Callable[[Runtime], LayoutImage], tmp_path: Path) -> Bench:
    place, told = MemoryBytes(), Told()
    blobs, destination = MemoryBlobs(place), LayoutDestination(tmp_path / "images")
    blobs.put([digits.data], what="", progress=told)
    uri = "s3://training/model.tar.gz"
    storage = Storage(MemoryStore(), MemoryOutputs(place, {uri: b"any"}), blobs, place)
    registry = Registry(storage)
    source = Source(kind=SourceKind.S3, uri=uri, etag=etag_of(b"any"), size=3)
    version = registry.register("digits", source, actor="tests", git_commit="4f2a9c1").version
    registry.record(version.ref, digits.artifact)
    recipes = StoredRecipes(storage.store)
    builder = Builder(blobs, recipes, destination, told)
    found = partial(_in_registry, base)
    return Bench(version.ref, registry, blobs, recipes, builder, destination, found, told)


def _in_registry(base: Callable[[Runtime], LayoutImage], runtime: Runtime) -> InRegistry:
    return InRegistry(base(runtime))


def test_an_image_tells_where_it_comes_from(bench: Bench) -> None:
    image = bench.build(Delivery.IMAGE)
    version = bench.registry.version(bench.ref)
    manifest = json.loads(bench.destination.manifest("digits", image.reference.partition("@")[2]))
    key = "org.opencontainers.image"
    told = manifest["annotations"]
    assert told[f"{key}.title"] == "digits"
    assert told[f"{key}.version"] == str(bench.ref.number)
    assert told[f"{key}.created"] == version.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert told[f"{key}.revision"] == "4f2a9c1"
    assert told[f"{key}.base.digest"] == image.base
    assert told[f"{key}.base.name"].startswith(f"{SERVER}@sha256:")
    assert told["dev.sluicegate.artifact"] == image.artifact
    assert bench.destination.tagged("digits", f"v{bench.ref.number}") == image.reference.partition("@")[2]


@pytest.mark.parametrize("delivery", Delivery)
def test_git_names_the_server_and_where_there_is_one_the_volume(delivery: Delivery, bench: Bench) -> None:
    image = bench.build(delivery)
    assert (image.delivery, image.platform, image.runtime) == (delivery, "linux/amd64", "torchserve")
    wanted = CommitInput(ref=bench.ref, environment="prod", weight=100, requested_by="tests")
    deployed = promotion(wanted, bench.registry).to
    server = f"{SERVER}@sha256:{'5' * 64}"
    if delivery is Delivery.VOLUME:
        assert image.server == server
        assert deployed == Deployed(
            version=bench.ref.number, image=server, runtime=Runtime.TORCHSERVE, volume=image.reference
        )
    else:
        assert image.server is None
        assert (deployed.image, deployed.volume) == (image.reference, None)
    assert deployed.model_image == image.reference


def test_what_was_built_stays_as_it_was_built(bench: Bench) -> None:
    first = bench.build(Delivery.IMAGE)
    bench.told.facts.clear()
    assert bench.build(Delivery.IMAGE) == first
    assert bench.told.facts == []
    assert bench.build(Delivery.VOLUME, Compression.GZIP) == first
    assert bench.told.facts == [
        f"{bench.ref} was built to be delivered as image and with layers of another compression than gzip, and stays"
        " so: register it anew"
    ]


@pytest.mark.parametrize("delivery", Delivery)
def test_an_image_that_is_gone_is_made_again(delivery: Delivery, bench: Bench, tmp_path: Path) -> None:
    first = bench.build(delivery)
    bench.told.facts.clear()
    elsewhere = bench.at(tmp_path / "elsewhere")
    assert elsewhere.build(Delivery.IMAGE) == first
    digest = first.reference.partition("@")[2]
    assert elsewhere.destination.tagged("digits", "v1") == digest
    assert elsewhere.destination.manifest("digits", digest) == bench.destination.manifest("digits", digest)
    assert f"{bench.ref} built again, as it was not there: {first.reference}" in bench.told.facts


def test_an_image_that_is_gone_and_cannot_be_made_again_is_a_conflict(bench: Bench, tmp_path: Path) -> None:
    bench.build(Delivery.IMAGE)
    elsewhere = bench.at(tmp_path / "elsewhere")
    with pytest.raises(Conflict, match=r"is not in the registry of images, and would come out as sha256:.* --compress"):
        elsewhere.build(Delivery.IMAGE, Compression.GZIP)
    other = elsewhere._replace(base=lambda _: bench.base(Runtime.TENSORFLOW_SERVING))
    with pytest.raises(Conflict, match=r"\(its base was sha256:\w+, and is sha256:\w+ now\): build it as it was"):
        other.build(Delivery.IMAGE)
    assert elsewhere.destination.tagged("digits", "v1") is None


class Elsewhere(WrappedDestination):
    """Another registry."""

    def reference(self, model: str, digest: str) -> Reference:
        return Reference(f"elsewhere.example/{model}", digest)


def test_an_image_that_was_built_into_another_registry_is_a_conflict(bench: Bench) -> None:
    bench.build(Delivery.IMAGE)
    moved = bench._replace(destination=Elsewhere(bench.destination))
    with pytest.raises(Conflict, match=r"was built into \S+/digits, and would go to elsewhere.example/digits now: set"):
        moved.build(Delivery.IMAGE)
