"""Reading what anyone who may push could have written: never more than it should be, and just what its digest names."""

from __future__ import annotations

from hashlib import sha256

from pipelines.image.content import Content, Kept
from pipelines.image.images import Destination
from pipelines.image.oci import MANIFEST_MAX, Descriptor, Manifest, parse_manifest
from registry.errors import Refused


def digest_of(data: bytes) -> str:
    """`sha256:…` of bytes."""
    return "sha256:" + sha256(data).hexdigest()


def known(data: bytes) -> Content:
    """Bytes that are in memory, with their digest, so that they are not sent where they are."""
    return Kept(digest_of(data), len(data), lambda start: iter((data[start:],)))


def read_blob(destination: Destination, model: str, wanted: Descriptor, most: int) -> bytes:
    """The bytes that a descriptor points at, `most` of them at the most.

    Raises:
        NotFound: they are not there.
        Refused: there are more, or others.
    """
    if wanted.size > most:
        raise Refused(f"{wanted.digest} has {wanted.size} bytes, where {most} are the most: delete it.")
    data = bytearray()
    for chunk in destination.content(model, wanted).chunks():
        data += chunk
        if len(data) > wanted.size:
            break
    if len(data) != wanted.size or digest_of(bytes(data)) != wanted.digest:
        raise Refused(f"Other bytes are in the place of {wanted.digest}: push them again.")
    return bytes(data)


def read_manifest(destination: Destination, model: str, digest: str) -> tuple[bytes, Manifest]:
    """A manifest, as its bytes and parsed.

    Raises:
        NotFound: it is not there.
        Refused: it is none, or another one is in its place.
    """
    data = destination.manifest(model, digest)
    if len(data) > MANIFEST_MAX or digest_of(data) != digest:
        raise Refused(f"Other bytes are in the place of the manifest {digest}: push it again.")
    return data, parse_manifest(data)
