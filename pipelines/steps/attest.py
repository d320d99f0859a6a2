"""Between steps 4 and 5: an image that was built gets what others need to trust it."""

from __future__ import annotations

from pipelines.buildkit.needs import requirements_of
from pipelines.image.images import Destination
from pipelines.packagers import packager_of
from pipelines.supply.attesting import Attested, attest_image
from pipelines.supply.purls import read_requirement
from pipelines.supply.sbom import Requirements, sbom
from pipelines.supply.signing import Signer
from pipelines.supply.subject import Known, Subject, known_of, subject_of
from registry.errors import InvalidInput
from registry.names import VersionRef
from registry.progress import Progress
from registry.registry import Registry
from registry.store import Blobs


def attest(
    ref: VersionRef,
    registry: Registry,
    blobs: Blobs,
    destination: Destination,
    signer: Signer | None,
    progress: Progress,
) -> Attested:
    """Attach SBOM and provenance to a version's image, and sign it where there is a signer; done once, it stays.

    Raises:
        NotFound: there is no such version, or its image or artifact is gone.
        Conflict: it is not built yet.
        Refused: the image is something else than the registry says, or the key may not be used.
    """
    known = known_of(registry, ref)
    subject = subject_of(destination, known)
    attested = attest_image(destination, subject, bill_of(subject, blobs), signer, progress)
    vouching = f"signed by {signer.public.name}" if signer else "not signed, as no key is set"
    progress.fact(f"{ref} attested: SBOM and provenance attached to {known.image.reference}, {vouching}")
    return attested


def bill_of(subject: Subject, blobs: Blobs) -> bytes:
    """The SBOM of a version's image.

    Raises:
        NotFound: the artifact is gone.
        Refused: the artifact's bytes are not the recorded ones.
    """
    return sbom(subject, _requirements(subject.known, blobs))


def _requirements(known: Known, blobs: Blobs) -> Requirements:
    artifact = known.artifact
    try:
        with blobs.open(artifact.blob) as reader:
            lines = requirements_of(artifact, packager_of(artifact), reader)
    except InvalidInput as error:  # it was not installed by Sluice, or the build would have failed
        return Requirements(trouble=str(error))
    return Requirements(tuple(found for line in lines if (found := read_requirement(line)) is not None))
