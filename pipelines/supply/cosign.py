"""Signatures of images in cosign's format (sigstore/cosign, SIGNATURE_SPEC.md), which cosign, skopeo and what admits
images to clusters verify.

What is signed is a payload that names the image by its digest (containers-signature(5), "JSON data format"). It is a
layer of a manifest of its own, its signature an annotation of that layer. The manifest has the tag `sha256-<hex>.sig`,
and, so that others' signatures have a place where tags never move, it is a referrer of the image too.

There is no entry in a public log: `cosign verify --insecure-ignore-tlog --key sluice.pub …`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.image.canonical import canonical
from pipelines.image.images import Destination, Reference
from pipelines.image.oci import CONFIG_TYPE, Descriptor, Manifest, dump
from pipelines.supply.attach import LOOKED_AT, Attached, name, push, referring, tag_of
from pipelines.supply.envelope import decoded
from pipelines.supply.keys import PublicKey
from pipelines.supply.reading import digest_of, read_blob, read_manifest
from pipelines.supply.signing import Signer
from pipelines.supply.subject import Subject
from registry.errors import NotFound, Refused
from registry.names import Digest
from registry.progress import Progress

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
ARTIFACT_TYPE = "application/vnd.dev.cosign.artifact.sig.v1+json"
"""Of signatures that are referrers, as cosign has it (cosign, pkg/oci/remote/write.go)."""
SUFFIX = "sig"
PAYLOAD_MAX = 1 << 20
"""Bytes of a payload; those that cosign and this write have some 300."""
_TYPE = "cosign container image signature"


class _Image(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: Digest = Field(alias="docker-manifest-digest")


class _Critical(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    image: _Image
    type: Literal["cosign container image signature"]


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    critical: _Critical


class Signed(NamedTuple):
    """A signature that a trusted key made of the image."""

    digest: str
    """Of the manifest that it is in."""
    key: PublicKey


def sign_image(destination: Destination, subject: Subject, signer: Signer, progress: Progress) -> str:
    """Sign an image, unless this key has done so; gives the digest of the manifest that holds the signature."""
    found = next(valid_signatures(destination, subject.model, subject.digest, (signer.public,)), None)
    digest = found.digest if found else _push(destination, subject, signer)
    name(destination, subject, SUFFIX, digest, progress)
    return digest


def valid_signatures(destination: Destination, model: str, digest: str, keys: Sequence[PublicKey]) -> Iterator[Signed]:
    """The signatures of an image by any of `keys`; what cannot be read, or is another's, is left out.

    Raises:
        Refused: the registry's list of referrers cannot be read.
    """
    for attached in _candidates(destination, model, digest):
        layers = (layer for layer in attached.manifest.layers if layer.media_type == PAYLOAD_TYPE)
        for _, layer in zip(range(LOOKED_AT), layers, strict=False):
            with suppress(NotFound, Refused):
                yield Signed(attached.digest, _verified(destination, model, digest, layer, keys))


def payload_of(image: Reference) -> bytes:
    """What is signed of an image, as canonical JSON."""
    identity, named = {"docker-reference": image.repository}, {"docker-manifest-digest": image.digest}
    return canonical(
        {"critical": {"identity": identity, "image": named, "type": _TYPE}, "optional": {"creator": "sluice"}}
    )


def check_payload(payload: bytes, digest: str) -> None:
    """Compare what was signed with the image. The name in it is not looked at, as cosign does not: images are copied.

    Raises:
        Refused: it is no payload of cosign's, or is about another image.
    """
    try:
        told = _Payload.model_validate_json(payload)
    except ValidationError as error:
        raise Refused("What was signed is no payload of cosign's: delete the signature, and sign again.") from error
    if told.critical.image.digest != digest:
        raise Refused(f"The signature is one of {told.critical.image.digest}: delete it, and sign again.")


def _push(destination: Destination, subject: Subject, signer: Signer) -> str:
    payload = payload_of(subject.known.reference)
    signature = base64.b64encode(signer.sign(payload)).decode()
    layer = Descriptor(
        media_type=PAYLOAD_TYPE, digest=digest_of(payload), size=len(payload), annotations={SIGNATURE: signature}
    )
    # as cosign writes it; registries that look into images' configs find one
    rootfs = {"type": "layers", "diff_ids": [layer.digest]}
    config = canonical({"architecture": "", "os": "", "config": {}, "rootfs": rootfs})
    manifest = Manifest(
        artifact_type=ARTIFACT_TYPE,
        config=Descriptor(media_type=CONFIG_TYPE, digest=digest_of(config), size=len(config)),
        layers=(layer,),
        subject=subject.descriptor,
    )
    return push(destination, subject.model, dump(manifest), (payload, config))


def _candidates(destination: Destination, model: str, digest: str) -> Iterator[Attached]:
    tagged = destination.tagged(model, tag_of(digest, SUFFIX))
    if tagged is not None:
        with suppress(NotFound, Refused):
            _, manifest = read_manifest(destination, model, tagged)
            yield Attached(tagged, manifest)
    for attached in referring(destination, model, digest, (ARTIFACT_TYPE,)):
        if attached.digest != tagged:
            yield attached


def _verified(
    destination: Destination, model: str, digest: str, layer: Descriptor, keys: Sequence[PublicKey]
) -> PublicKey:
    """The key that signed the image; the payload is not parsed before it is known to be its.

    Raises:
        NotFound: the payload is gone.
        Refused: there is no such signature, none of `keys` made it, or it is of another image.
    """
    signature = decoded((layer.annotations or {}).get(SIGNATURE, ""))
    payload = read_blob(destination, model, layer, PAYLOAD_MAX)
    key = next((key for key in keys if key.verify(payload, signature)), None)
    if key is None:
        raise Refused("No trusted key has made the signature: sign the image, or trust the key.")
    check_payload(payload, digest)
    return key
