"""Attaching things to an image, and finding them: referrers (OCI image specification 1.1, "Guidelines for Artifact
Usage"; OCI distribution specification 1.1, "Listing Referrers").

An attached thing is a blob in a manifest whose `subject` is the image. The manifest's bytes depend on the blob and the
image alone, so that the same thing attached again is the same manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from pipelines.image.images import Destination
from pipelines.image.oci import Descriptor, Manifest, dump
from pipelines.supply.reading import digest_of, known, read_manifest
from pipelines.supply.subject import Subject
from registry.errors import Conflict, NotFound, Refused
from registry.progress import Progress

EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
SBOM_TYPE = "application/vnd.cyclonedx+json"
LOOKED_AT = 64
"""Referrers of one kind that are looked at, and signatures in one manifest: anyone may attach more to an image."""


class Attached(NamedTuple):
    """A manifest whose subject is the image."""

    digest: str
    manifest: Manifest


def attach(
    destination: Destination, subject: Subject, kind: str, data: bytes, annotations: Mapping[str, str] | None = None
) -> str:
    """Push `data` as a referrer of the image, with `kind` as its type; gives the manifest's digest.

    `annotations` are the blob's. Attached before, it is not sent again.
    """
    blob = Descriptor(media_type=kind, digest=digest_of(data), size=len(data), annotations=annotations)
    config = Descriptor(media_type=EMPTY_TYPE, digest=digest_of(EMPTY), size=len(EMPTY))
    manifest = dump(Manifest(artifact_type=kind, config=config, layers=(blob,), subject=subject.descriptor))
    return push(destination, subject.model, manifest, (EMPTY, data))


def push(destination: Destination, model: str, manifest: bytes, blobs: tuple[bytes, ...]) -> str:
    """Push a small manifest and what it names, unless it is there; gives its digest."""
    if not destination.has(model, digest_of(manifest)):
        for blob in blobs:
            destination.put(model, known(blob))
    return destination.push(model, manifest).digest  # although it is there: it may not be listed yet


def name(destination: Destination, subject: Subject, suffix: str, digest: str, progress: Progress) -> None:
    """Tag what is attached to the image as cosign looks for it: `sha256-<hex>.<suffix>`, unless that is taken.

    Tags never move, so what another has put there stays.
    """
    tag, model = tag_of(subject.digest, suffix), subject.model
    there = destination.tagged(model, tag)
    if there is None:
        with suppress(Conflict):  # another was as quick
            destination.tag(model, tag, digest)
        there = destination.tagged(model, tag)
    if there != digest:
        progress.fact(f"The tag {tag} is another's, and stays so: {digest} is found as a referrer alone")


def tag_of(digest: str, suffix: str) -> str:
    """The tag under which cosign looks for what belongs to an image (cosign, SIGNATURE_SPEC.md, "Tag-based
    Discovery")."""
    return f"{digest.replace(':', '-')}.{suffix}"


def referring(destination: Destination, model: str, digest: str, kinds: tuple[str, ...]) -> Iterator[Attached]:
    """The manifests of these kinds whose subject is the image; those that are not what they are listed as are left out.

    Raises:
        Refused: the registry's list cannot be read.
    """
    listed = (item for item in destination.referrers(model, digest) if item.artifact_type in (None, *kinds))
    for item in islice(listed, LOOKED_AT):
        with suppress(NotFound, Refused):
            _, manifest = read_manifest(destination, model, item.digest)
            kind = manifest.artifact_type or manifest.config.media_type  # "Listing Referrers" tells it so, too
            if kind in kinds and manifest.subject and manifest.subject.digest == digest:
                yield Attached(item.digest, manifest)
