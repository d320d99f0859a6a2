"""The build and commit steps: what is told of an image, and which of two images git is to name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gitops.release import Deployed, Runtime
from pipelines.image.builder import Builder
from pipelines.image.content import Content
from pipelines.image.images import Reference
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.oci import Descriptor
from pipelines.image.recipes import StoredRecipes
from pipelines.steps.build import BuildInput, build
from pipelines.steps.commit import CommitInput, promotion
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
    builder: Builder
    destination: LayoutDestination
    base: Callable[[Runtime], Any]
    told: Told

    def build(self, delivery: Delivery) -> Image:
        wanted = BuildInput(ref=self.ref, delivery=delivery)
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
    builder = Builder(blobs, StoredRecipes(storage.store), destination, told)
    return Bench(version.ref, registry, builder, destination, lambda runtime: InRegistry(base(runtime)), told)


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
    assert bench.build(Delivery.VOLUME) == first
    assert bench.told.facts == [f"{bench.ref} was built to be delivered as image, and stays so: register it anew"]


def test_an_image_that_is_known_but_lies_elsewhere_is_not_named_here(bench: Bench, tmp_path: Path) -> None:
    first = bench.build(Delivery.IMAGE)
    elsewhere = bench._replace(destination=LayoutDestination(tmp_path / "elsewhere"))
    assert elsewhere.build(Delivery.IMAGE) == first
    assert elsewhere.destination.tagged("digits", "v1") is None
