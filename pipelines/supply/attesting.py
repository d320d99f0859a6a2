"""All that is attached to an image: made, pushed, and found again where it was pushed before."""

from __future__ import annotations

from contextlib import suppress

from pydantic import BaseModel, ConfigDict

from pipelines.image.images import Destination
from pipelines.image.oci import Descriptor
from pipelines.supply.attach import SBOM_TYPE, attach, name, referring
from pipelines.supply.cosign import SIGNATURE, sign_image
from pipelines.supply.envelope import ENVELOPE_MAX, ENVELOPE_TYPE, STATEMENT_TYPE, seal, unseal
from pipelines.supply.provenance import PREDICATE_TYPE, Statement, provenance
from pipelines.supply.reading import digest_of, read_blob
from pipelines.supply.signing import Signer
from pipelines.supply.subject import Subject
from registry.errors import NotFound, Refused
from registry.names import Digest, ImageRef, VersionRef
from registry.progress import Progress

SUFFIX = "att"
"""Of the tag under which cosign looks for attestations (cosign, ATTESTATION_SPEC.md)."""


class Attested(BaseModel):
    """What vouches for an image: the digests of the manifests that are attached to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    image: ImageRef
    sbom: Digest
    provenance: Digest
    signature: Digest | None
    """None where no key signs."""


def attest_image(
    destination: Destination, subject: Subject, sbom: bytes, signer: Signer | None, progress: Progress
) -> Attested:
    """Attach SBOM and provenance to an image and sign both, as far as there is a signer. What is there stays.

    The signature comes last: an image that is signed has the rest.
    """
    told = attach(destination, subject, SBOM_TYPE, sbom)
    statement = provenance(subject, digest_of(sbom))
    if signer is None:
        vouched, signature = _plain(destination, subject, statement), None
    else:
        vouched = _sealed(destination, subject, statement, signer)
        name(destination, subject, SUFFIX, vouched, progress)
        signature = sign_image(destination, subject, signer, progress)
    ref, image = subject.known.version.ref, subject.known.image.reference
    return Attested(ref=ref, image=image, sbom=told, provenance=vouched, signature=signature)


def _plain(destination: Destination, subject: Subject, statement: Statement) -> str:
    found = _found(destination, subject, statement, None)
    return found or attach(destination, subject, STATEMENT_TYPE, statement.to_bytes())


def _sealed(destination: Destination, subject: Subject, statement: Statement, signer: Signer) -> str:
    found = _found(destination, subject, statement, signer)
    if found:
        return found
    told = {"predicateType": PREDICATE_TYPE, SIGNATURE: ""}  # cosign looks for both
    return attach(destination, subject, ENVELOPE_TYPE, seal(statement.to_bytes(), signer), told)


def _found(destination: Destination, subject: Subject, statement: Statement, signer: Signer | None) -> str | None:
    """A provenance that tells the same, signed by this signer where there is one; another release may have made it."""
    kind = ENVELOPE_TYPE if signer else STATEMENT_TYPE
    for attached in referring(destination, subject.model, subject.digest, (kind,)):
        for layer in attached.manifest.layers[:1]:
            with suppress(NotFound, Refused):
                if _read(destination, subject, layer, signer).same(statement):
                    return attached.digest
    return None


def _read(destination: Destination, subject: Subject, layer: Descriptor, signer: Signer | None) -> Statement:
    data = read_blob(destination, subject.model, layer, ENVELOPE_MAX)
    return Statement.parse(unseal(data, (signer.public,)) if signer else data)
