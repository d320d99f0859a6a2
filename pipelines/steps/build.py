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
        artifact = registry.fact(ref, Artifact)
        if artifact is None:
            raise Conflict(f"{ref} is not packaged yet: run `sluice package {ref}` first.")
        packager = packager_of(artifact)
        request = _request(version, artifact)
        built = build_image(request, packager, blobs, base(packager.runtime), destination, progress)
        fact = Image(
            reference=str(built.reference),
            artifact=artifact.blob,
            base=built.base,
            runtime=packager.runtime.value,
            size=built.size,
        )
        known = registry.record(ref, fact)
        progress.fact(f"{ref} built: {known.reference}, {known.size} bytes with its base")
    # The tag comes after the fact: were it first, a build that broke off in between could never be made otherwise.
    digest = known.reference.rpartition("@")[2]
    if destination.has(ref.model, digest):
        destination.tag(ref.model, f"v{ref.number}", digest)
    return known


def _request(version: Version, artifact: Artifact) -> BuildRequest:
    """What goes into a version's image beside bytes; all of it from the version's own facts."""
    created = version.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {
        "org.opencontainers.image.title": version.model,
        "org.opencontainers.image.version": str(version.number),
        "org.opencontainers.image.created": created,
        "dev.sluicegate.artifact": artifact.blob,
        "dev.sluicegate.source": artifact.source,
    }
    return BuildRequest(ref=version.ref, artifact=artifact, created=created, labels=labels)
