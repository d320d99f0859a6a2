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
from pipelines.image.layers import media_type
from pipelines.image.oci import ANNOTATIONS, Manifest, parse_manifest
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
    """Build and push the image of a packaged version. Built once, it stays as it is, and is made again only where the
    destination lacks it.

    `base` gives the base image for a model server.

    Raises:
        NotFound: there is no such version, base or artifact.
        Conflict: the version is not packaged yet, its image is in another registry, or it is gone and would come out
            as another one.
    """
    ref = wanted.ref
    version = registry.version(ref)
    known = registry.fact(ref, Image)
    if known is not None:
        _check_place(ref, known, destination)
    if known is None:
        known = registry.record(ref, _built(version, registry, wanted, builder, base))
        progress.fact(f"{ref} built: {known.reference}, {known.size} bytes with its base")
    elif (manifest := _found(destination, ref, known)) is not None:
        _tell_what_stays(wanted, known, parse_manifest(manifest), progress)
    else:
        same = wanted.model_copy(update={"delivery": known.delivery})
        again = _built(version, registry, same, builder, base)
        _check_same(ref, known, again)
        progress.fact(f"{ref} built again, as it was not there: {again.reference}")
    # The tag comes after the fact: were it first, a build that broke off in between could never be made otherwise.
    destination.tag(ref.model, f"v{ref.number}", _digest(known))
    return known


def _built(
    version: Version, registry: Registry, wanted: BuildInput, builder: Builder, base: Callable[[Runtime], BaseImage]
) -> Image:
    """What there is to record of an image that is built and pushed."""
    artifact = registry.fact(wanted.ref, Artifact)
    if artifact is None:
        raise Conflict(f"{wanted.ref} is not packaged yet: run `sluice package {wanted.ref}` first.")
    packager = packager_of(artifact)
    built = builder.build(_request(version, artifact, wanted), packager, base(packager.runtime))
    return Image(
        reference=str(built.reference),
        artifact=artifact.blob,
        base=built.base,
        runtime=packager.runtime.value,
        size=built.size,
        delivery=wanted.delivery,
        server=str(built.server) if built.server else None,
        platform=built.platform,
    )


def _found(destination: Destination, ref: VersionRef, known: Image) -> bytes | None:
    """The manifest of an image that was built, where the destination has it."""
    with suppress(NotFound):
        return destination.manifest(ref.model, _digest(known))
    return None


def _check_place(ref: VersionRef, known: Image, destination: Destination) -> None:
    here = destination.reference(ref.model, _digest(known)).repository
    there = known.reference.partition("@")[0]
    if here != there:
        raise Conflict(
            f"The image of {ref} was built into {there}, and would go to {here} now: set `registry` as it was, or"
            " register a new version."
        )


def _check_same(ref: VersionRef, known: Image, again: Image) -> None:
    if _digest(again) == _digest(known):
        return
    other = f"its base was {known.base}, and is {again.base} now" if again.base != known.base else "see --compression"
    raise Conflict(
        f"The image of {ref}, {known.reference}, is not in the registry of images, and would come out as"
        f" {_digest(again)} ({other}): build it as it was, copy it there, or register a new version."
    )


def _tell_what_stays(wanted: BuildInput, known: Image, manifest: Manifest, progress: Progress) -> None:
    """Say which wishes come too late."""
    was = []
    if known.delivery is not wanted.delivery:
        was.append(f"to be delivered as {known.delivery.value}")
    if manifest.layers[-1].media_type != media_type(wanted.compression):
        was.append(f"with layers of another compression than {wanted.compression.value}")
    if was:
        progress.fact(f"{wanted.ref} was built {' and '.join(was)}, and stays so: register it anew")


def _digest(image: Image) -> str:
    return image.reference.rpartition("@")[2]


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
