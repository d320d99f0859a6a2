"""Step 4: a packaged version becomes a serving image."""

from __future__ import annotations

from collections.abc import Callable

from gitops.release import Runtime
from pipelines.image.builder import BuildRequest, build_image
from pipelines.image.images import BaseImage, Destination
from pipelines.packagers import packager_of
from registry.errors import Conflict
from registry.facts import Artifact, Image, Version
from registry.names import VersionRef
from registry.progress import Progress
from registry.registry import Registry
from registry.store import Blobs


def build(
    ref: VersionRef,
    registry: Registry,
    blobs: Blobs,
    base: Callable[[Runtime], BaseImage],
    destination: Destination,
    progress: Progress,
) -> Image:
    """Build and push the image of a packaged version; built once, it is not built again.

    `base` gives the base image for a model server.

    Raises:
        NotFound: there is no such version, base or artifact.
        Conflict: the version is not packaged yet.
    """
    version = registry.version(ref)
    known = registry.fact(ref, Image)
    if known is None:
        known = _build(version, registry, blobs, base, destination, progress)
    # The tag comes after the fact: were it first, a build that broke off in between could never be made otherwise.
    digest = known.reference.rpartition("@")[2]
    if destination.has(ref.model, digest):
        destination.tag(ref.model, f"v{ref.number}", digest)
    return known


def _build(
    version: Version,
    registry: Registry,
    blobs: Blobs,
    base: Callable[[Runtime], BaseImage],
    destination: Destination,
    progress: Progress,
) -> Image:
    ref = version.ref
    artifact = registry.fact(ref, Artifact)
    if artifact is None:
        raise Conflict(f"{ref} is not packaged yet: run `sluice package {ref}` first.")
    created = version.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {
        "org.opencontainers.image.title": ref.model,
        "org.opencontainers.image.version": str(ref.number),
        "org.opencontainers.image.created": created,
        "dev.sluicegate.artifact": artifact.blob,
        "dev.sluicegate.source": artifact.source,
    }
    request = BuildRequest(ref=ref, artifact=artifact, created=created, labels=labels)
    packager = packager_of(artifact)
    built = build_image(request, packager, blobs, base(packager.runtime), destination, progress)
    fact = Image(
        reference=str(built.reference),
        artifact=artifact.blob,
        base=built.base,
        runtime=packager.runtime.value,
        size=built.size,
    )
    progress.fact(f"{ref} built: {fact.reference}, {fact.size} bytes with its base")
    return registry.record(ref, fact)
