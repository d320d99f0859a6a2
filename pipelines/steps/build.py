"""Step 4: a packaged version becomes a serving image."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pydantic import BaseModel, ConfigDict

from gitops.config import Model
from gitops.release import Runtime
from pipelines.image.assembly import BuildRequest
from pipelines.image.builder import Builder
from pipelines.image.compression import DEFAULT_COMPRESSION, Compression
from pipelines.image.images import BaseImage, Destination
from pipelines.image.oci import ANNOTATIONS
from pipelines.packagers import packager_of
from registry.errors import Conflict, NotFound
from registry.facts import Artifact, Delivery, Image, Version
from registry.names import VersionRef
from registry.progress import Progress
from registry.registry import Registry


class BuildInput(BaseModel):
    """Which version to build an image of, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    delivery: Delivery = Delivery.IMAGE
    compression: Compression = DEFAULT_COMPRESSION

    @classmethod
    def of(cls, ref: VersionRef, settings: Model, compression: Compression = DEFAULT_COMPRESSION) -> BuildInput:
        """What to do with a version, by what people said of its model."""
        return cls(ref=ref, delivery=settings.delivery, compression=compression)


def build(
    wanted: BuildInput,
    registry: Registry,
    builder: Builder,
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
    ref = wanted.ref
    version = registry.version(ref)
    known = registry.fact(ref, Image)
    if known is None:
        artifact = registry.fact(ref, Artifact)
        if artifact is None:
            raise Conflict(f"{ref} is not packaged yet: run `sluice package {ref}` first.")
        packager = packager_of(artifact)
        built = builder.build(_request(version, artifact, wanted), packager, base(packager.runtime))
        fact = Image(
            reference=str(built.reference),
            artifact=artifact.blob,
            base=built.base,
            runtime=packager.runtime.value,
            size=built.size,
            delivery=wanted.delivery,
            server=str(built.server) if built.server else None,
            platform=built.platform,
        )
        known = registry.record(ref, fact)
        progress.fact(f"{ref} built: {known.reference}, {known.size} bytes with its base")
    elif known.delivery is not wanted.delivery:
        progress.fact(f"{ref} was built to be delivered as {known.delivery.value}, and stays so: register it anew")
    # The tag comes after the fact: were it first, a build that broke off in between could never be made otherwise.
    with suppress(NotFound):  # built for another destination, before
        destination.tag(ref.model, f"v{ref.number}", known.reference.rpartition("@")[2])
    return known


def _request(version: Version, artifact: Artifact, wanted: BuildInput) -> BuildRequest:
    """What goes into a version's image beside bytes; all of it from the version's own facts."""
    created = version.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {
        f"{ANNOTATIONS}title": version.model,
        f"{ANNOTATIONS}version": str(version.number),
        f"{ANNOTATIONS}created": created,
        **({f"{ANNOTATIONS}revision": version.git_commit} if version.git_commit else {}),
        "dev.sluicegate.artifact": artifact.blob,
        "dev.sluicegate.source": artifact.source,
    }
    return BuildRequest(
        ref=version.ref,
        artifact=artifact,
        created=created,
        labels=labels,
        delivery=wanted.delivery,
        compression=wanted.compression,
    )
