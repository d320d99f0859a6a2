"""What everything here is about: an image that was pushed, and what the registry knows of its version."""

from __future__ import annotations

from typing import NamedTuple

from pipelines.image.compression import Compression
from pipelines.image.images import Destination, Reference
from pipelines.image.oci import ANNOTATIONS, MANIFEST_TYPE, Descriptor, Manifest
from pipelines.supply.reading import read_manifest
from registry.errors import Conflict, NotFound
from registry.facts import Artifact, Delivery, Image, Version
from registry.names import VersionRef
from registry.registry import Registry


class Known(NamedTuple):
    """A version's facts, as far as an image is made of them."""

    version: Version
    artifact: Artifact
    image: Image

    @property
    def reference(self) -> Reference:
        """The image, as a cluster names it."""
        repository, _, digest = self.image.reference.rpartition("@")
        return Reference(repository, digest)


class Subject(NamedTuple):
    """An image, as it was pushed."""

    known: Known
    descriptor: Descriptor
    """Its manifest."""
    manifest: Manifest

    @property
    def model(self) -> str:
        """What the destination keeps it under."""
        return self.known.version.model

    @property
    def digest(self) -> str:
        """The manifest's, which names the image."""
        return self.descriptor.digest

    @property
    def base(self) -> Reference:
        """What it is built upon, or mounted by; the repository is "" where that is a folder."""
        named = (self.manifest.annotations or {}).get(f"{ANNOTATIONS}base.name") or self.known.image.server or ""
        return Reference(named.partition("@")[0], self.known.image.base)

    @property
    def on_base(self) -> bool:
        """Whether the base is in the image."""
        return self.known.image.delivery is Delivery.IMAGE

    @property
    def compression(self) -> Compression:
        """Of the layers that were made; the last one always is."""
        suffix = self.manifest.layers[-1].media_type.rpartition("+")[2] if self.manifest.layers else ""
        return next((one for one in Compression if one.value == suffix), Compression.NONE)


def known_of(registry: Registry, ref: VersionRef) -> Known:
    """What the registry knows of a version that was built.

    Raises:
        NotFound: there is no such version.
        Conflict: it is not built yet.
    """
    version, facts = registry.version(ref), registry.facts(ref)
    if facts.artifact is None or facts.image is None:
        raise Conflict(f"{ref} is not built yet: run `sluice build {ref}` first.")
    return Known(version, facts.artifact, facts.image)


def subject_of(destination: Destination, known: Known) -> Subject:
    """A version's image, where it was pushed to.

    Raises:
        NotFound: the destination does not have it.
        Refused: what it has is something else.
    """
    version, digest = known.version, known.reference.digest
    try:
        data, manifest = read_manifest(destination, version.model, digest)
    except NotFound as error:
        raise NotFound(
            f"The image of {version.ref} ({known.image.reference}) is not where images go now: correct `registry` or"
            " `images` in sluice.toml."
        ) from error
    return Subject(known, Descriptor(media_type=MANIFEST_TYPE, digest=digest, size=len(data)), manifest)
