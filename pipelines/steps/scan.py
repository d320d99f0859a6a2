"""Step 2: read a training output from end to end, before anything is made of it."""

from __future__ import annotations

from pipelines.archive import Limits, read_archive
from pipelines.digests import Hashed, watched
from pipelines.formats import Sniffer
from registry.facts import FileFact, Scan
from registry.names import VersionRef
from registry.outputs import Outputs
from registry.progress import Progress
from registry.registry import Registry


def scan(ref: VersionRef, outputs: Outputs, registry: Registry, limits: Limits, progress: Progress) -> Scan:
    """Find out what a version's training output holds, and the sha256 of all of it; known once, it is not read again.

    Raises:
        InvalidInput: it is damaged, or holds no model that can be served.
        NotFound: it is gone, or the version is a number without bytes.
        Refused: it is hostile.
    """
    known = registry.fact(ref, Scan)
    if known is not None:
        return known
    version = registry.version(ref)
    whole = Hashed(watched(outputs.chunks(version), f"scan {ref}", version.source.size, progress))
    sniffer = Sniffer()
    files = []
    for member in read_archive(whole, limits):
        hashed = Hashed(sniffer.watch(member.path, member.chunks))
        for _ in hashed:
            pass
        files.append(FileFact(path=member.path, size=member.size, sha256=hashed.digest))
    found = sniffer.verdict()
    fact = Scan(source=whole.digest, size=whole.size, format=found.format, root=found.root, files=tuple(files))
    progress.fact(f"{ref} scanned: {found.format.value} in {len(files)} files, {fact.source}")
    return registry.record(ref, fact)
