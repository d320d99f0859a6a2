"""Step 3: a training output becomes the archive that a model server reads, in one pass from S3 to S3."""

from __future__ import annotations

from pipelines.archive import Limits, read_archive
from pipelines.digests import all_verified, watched
from pipelines.packagers import PackRequest, packager_for
from pipelines.steps.scan import scan
from registry.errors import NotFound
from registry.facts import Artifact, FileFact
from registry.names import VersionRef
from registry.outputs import Outputs
from registry.progress import Progress
from registry.registry import Registry
from registry.store import Blobs


def package(
    ref: VersionRef, outputs: Outputs, registry: Registry, blobs: Blobs, limits: Limits, progress: Progress
) -> Artifact:
    """Package a version, scanning it first where that was not done; packaged once, it is not packaged again.

    What is read is compared, file by file, with what the scan saw.

    Raises:
        InvalidInput: the training output is damaged, or holds no model that can be served.
        NotFound: it is gone, or the version is a number without bytes.
        Refused: it is hostile, or is not what was scanned.
    """
    version = registry.version(ref)
    known = registry.fact(ref, Artifact)
    if known is not None:
        if blobs.size(known.blob) == known.size:
            return known
        raise NotFound(f"The artifact of {ref} ({known.blob}) is gone from the bucket: restore it from a copy.")
    seen = scan(ref, outputs, registry, limits, progress)
    packager = packager_for(seen)
    chunks = watched(outputs.chunks(version), f"package {ref}", version.source.size, progress)
    members = all_verified(read_archive(chunks, limits), seen.files)
    files: list[FileFact] = []
    request = PackRequest(ref=ref, scan=seen, created_at=version.created_at)
    blob = blobs.put(packager.pack(members, request, files), what=f"store {ref}", progress=progress)
    fact = Artifact(type=packager.type, source=seen.source, blob=blob.digest, size=blob.size, files=tuple(files))
    progress.fact(f"{ref} packaged: {packager.type} of {blob.size} bytes, {blob.digest}")
    return registry.record(ref, fact)
