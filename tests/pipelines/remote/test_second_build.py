"""How little is asked of registries when a version is built again; a registry's token service is asked, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from gitops.release import Runtime
from pipelines.image.builder import Builder
from pipelines.image.layout import LayoutImage
from pipelines.image.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor, parse_manifest
from pipelines.image.recipes import StoredRecipes
from pipelines.image.remote.destination import RegistryDestination
from pipelines.image.remote.image import RemoteImage
from pipelines.image.remote.names import ImageName, Place
from pipelines.image.remote.transport import Transport
from pipelines.steps.build import BuildInput, build
from registry.facts import Delivery, Image, Source, SourceKind
from registry.memory import MemoryBlobs, MemoryBytes, MemoryOutputs, MemoryStore, etag_of
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage
from tests.pipelines.remote.strict import Strict

MOST = 10


class Bench(NamedTuple):
    """A version that is packaged, a registry of images, and one of bases, which may be the same."""

    sample: Any
    images: Strict
    bases: Strict
    user: Any

    def build(self, store: MemoryStore, delivery: Delivery) -> Image:
        """Build as a new process does, which has no connection and no token yet."""
        place, quiet = MemoryBytes(), Silent()
        blobs, uri = MemoryBlobs(place), "s3://training/model.tar.gz"
        blobs.put([self.sample.data], what="", progress=quiet)
        registry = Registry(Storage(store, MemoryOutputs(place, {uri: b"any"}), blobs, place))
        source = Source(kind=SourceKind.S3, uri=uri, etag=etag_of(b"any"), size=3)
        ref = registry.register("digits", source, actor="tests").version.ref
        registry.record(ref, self.sample.artifact)
        to = RegistryDestination(Place.parse(f"{self.images.host}/models"), Transport(self.images.host, self.user()))
        below = RemoteImage(
            ImageName.parse(f"{self.bases.host}/base/server:1"), Transport(self.bases.host, self.user())
        )
        builder = Builder(blobs, StoredRecipes(store), to, quiet)
        return build(BuildInput(ref=ref, delivery=delivery), registry, builder, lambda _: below, to, quiet)


def put_base(registry: Strict, base: LayoutImage) -> None:
    """An image in an index, as most bases are."""
    manifest = base.manifest()
    parsed = parse_manifest(manifest)
    for item in (parsed.config, *parsed.layers):
        registry.add_blob("base/server", b"".join(base.content(item).chunks()))
    digest = registry.add_manifest("base/server", MANIFEST_TYPE, manifest)
    item = Descriptor(media_type=MANIFEST_TYPE, digest=digest, size=len(manifest)).model_dump(
        by_alias=True, exclude_none=True
    )
    index = {"schemaVersion": 2, "manifests": [{**item, "platform": {"os": "linux", "architecture": "amd64"}}]}
    registry.add_manifest("base/server", INDEX_TYPE, json.dumps(index).encode(), "1")


@pytest.fixture(params=["one registry", "two registries"])
def bench(
    request: pytest.FixtureRequest,
    opened: Callable[..., Any],
    digits: Any,
    base: Callable[[Runtime], LayoutImage],
    user: Any,
) -> Bench:
    images = opened(auth="bearer").registry
    bases = images if request.param == "one registry" else opened(auth="bearer").registry
    put_base(bases, base(Runtime.TORCHSERVE))
    return Bench(digits, images, bases, user)


def asked(bench: Bench) -> list[tuple[str, str]]:
    """What both registries were asked, which is forgotten then."""
    both = [bench.images] if bench.images is bench.bases else [bench.bases, bench.images]
    found = [one for registry in both for one in registry.requests]
    for registry in both:
        registry.clear()
    return found


@pytest.mark.parametrize("delivery", Delivery)
def test_a_version_built_again_costs_few_requests_and_no_blob(delivery: Delivery, bench: Bench) -> None:
    store = MemoryStore()
    first = bench.build(store, delivery)
    asked(bench)
    assert bench.build(store, delivery) == first
    known = asked(bench)
    assert [method for method, _ in known] == ["GET", "GET", "GET", "HEAD"], known  # 401, token, manifest, tag


@pytest.mark.parametrize("delivery", Delivery)
def test_one_whose_image_nobody_remembers_does_too(delivery: Delivery, bench: Bench) -> None:
    store = MemoryStore()
    first = bench.build(store, delivery)
    (fact,) = (key for key in store.list("models/") if key.endswith("/image.json"))
    forgotten = MemoryStore()
    for key in store.list(""):
        if key != fact and (kept := store.get(key)) is not None:
            forgotten.create(key, kept.data)
    asked(bench)
    assert bench.build(forgotten, delivery) == first
    again = asked(bench)
    assert len(again) <= MOST, again
    assert {method for method, _ in again} <= {"GET", "HEAD"}, again
    assert not [path for _, path in again if path.startswith("/v2/models/") and "/blobs/" in path], again
