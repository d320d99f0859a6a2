"""Step 3: a training output becomes the archive that a model server reads, in one pass from S3 to S3."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from gitops.config import Model
from gitops.release import Runtime
from pipelines.archive import Limits, members_ahead, read_archive
from pipelines.digests import all_verified, watched
from pipelines.packagers import Packed, PackRequest, packager_for
from pipelines.scanning import scanner_name
from pipelines.steps.scan import look, scan
from registry.errors import NotFound, Refused
from registry.facts import SEVERITIES, Artifact, Scan, Severity
from registry.names import VersionRef
from registry.outputs import Outputs
from registry.progress import Progress
from registry.registry import Registry
from registry.store import Blobs

_PICKLE_ADVICE = (
    "leave it out if serving does not need it, or save the weights as safetensors, or as a state_dict of plain tensors,"
    " and train again"
)
_ADVICE = "leave it out and pack the rest again, or let it through with `refuse` under [policy] in sluice.toml"


class PackageInput(BaseModel):
    """Which version to package, and what its model.yaml says about that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    runtime: Runtime | None = None
    """The model server to package for; None for the usual one of the model's format."""
    handler: str = ""
    """As in `PackRequest`."""
    limits: Limits = Limits()
    """For the training output, and for an archive inside of it."""
    refuse: Severity | None = Severity.DANGER
    """Findings as bad as this are not packaged; None packages whatever was found."""

    @classmethod
    def of(cls, ref: VersionRef, settings: Model, refuse: Severity | None = Severity.DANGER) -> PackageInput:
        """What to do with a version, by what people said of its model."""
        return cls(ref=ref, runtime=settings.runtime, handler=settings.handler, refuse=refuse)


def package(wanted: PackageInput, outputs: Outputs, registry: Registry, blobs: Blobs, progress: Progress) -> Artifact:
    """Package a version, scanning it first where that was not done; packaged once, it is not packaged again.

    What is read is compared, file by file, with what the scan saw.

    Raises:
        InvalidInput: the training output is damaged, or holds no model that can be served.
        NotFound: it is gone, or the version is a number without bytes.
        Refused: it is hostile, or is not what was scanned, or holds what policy does not let through.
    """
    ref, limits = wanted.ref, wanted.limits
    version = registry.version(ref)
    known = registry.fact(ref, Artifact)
    if known is not None:
        if blobs.size(known.blob) == known.size:
            return known
        raise NotFound(f"The artifact of {ref} ({known.blob}) is gone from the bucket: restore it from a copy.")
    seen = scan(ref, outputs, registry, limits, progress)
    check_policy(seen, wanted.refuse)
    if seen.scanner != scanner_name():
        # by another release, which may have known less; facts are written once, so this is not recorded
        progress.fact(f"{ref} was scanned by {seen.scanner or 'an older release'}: looking again")
        check_policy(look(version, outputs, limits, progress), wanted.refuse)
    packager = packager_for(seen, wanted.runtime)
    chunks = watched(outputs.chunks(version), f"package {ref}", version.source.size, progress)
    packed = Packed()
    request = PackRequest(ref=ref, scan=seen, created_at=version.created_at, handler=wanted.handler, limits=limits)
    with members_ahead(all_verified(read_archive(chunks, limits), seen.files)) as members:
        blob = blobs.put(packager.pack(members, request, packed), what=f"store {ref}", progress=progress)
    if packed.signature is not None:  # before the artifact, which is what later steps look for
        registry.record(ref, packed.signature)
    fact = Artifact(type=packager.type, source=seen.source, blob=blob.digest, size=blob.size, files=tuple(packed.files))
    progress.fact(f"{ref} packaged: {packager.type} of {blob.size} bytes, {blob.digest}")
    return registry.record(ref, fact)


def check_policy(seen: Scan, refuse: Severity | None) -> None:
    """Compare what a scan found with what policy lets through.

    Raises:
        Refused: a finding is as bad as `refuse`, or worse.
    """
    if refuse is None:
        return
    bad = [finding for finding in seen.findings if SEVERITIES.index(finding.severity) >= SEVERITIES.index(refuse)]
    if bad:
        worst = max(bad, key=lambda finding: SEVERITIES.index(finding.severity))
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        advice = _PICKLE_ADVICE if worst.rule.startswith("pickle") else _ADVICE
        raise Refused(f"{worst.path[:200]}: {worst.detail or worst.rule}{more}; {advice}.")
