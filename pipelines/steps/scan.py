"""Step 2: read a training output from end to end, before anything is made of it."""

from __future__ import annotations

from pipelines.archive import Limits, members_ahead, read_archive
from pipelines.digests import Hashed, watched
from pipelines.scanning import Scanner, scanner_name
from registry.errors import Refused
from registry.facts import FileFact, Scan, Version
from registry.limits import RECORD_MAX
from registry.names import VersionRef
from registry.outputs import Outputs
from registry.progress import Progress
from registry.registry import Registry


def scan(ref: VersionRef, outputs: Outputs, registry: Registry, limits: Limits, progress: Progress) -> Scan:
    """Find out what a version's training output holds, and the sha256 of all of it; known once, it is not read again.

    What is found in it is a fact like others; whether that is let through is decided where it is packaged.

    Raises:
        InvalidInput: it is damaged, or holds no model that can be served.
        NotFound: it is gone, or the version is a number without bytes.
        Refused: it is hostile, or holds more files than can be recorded.
    """
    known = registry.fact(ref, Scan)
    if known is not None:
        return known
    fact = look(registry.version(ref), outputs, limits, progress)
    worst = f", worst finding: {fact.worst.value}" if fact.worst else ""
    progress.fact(f"{ref} scanned: {fact.format.value} in {len(fact.files)} files, {fact.source}{worst}")
    return registry.record(ref, fact)


def look(version: Version, outputs: Outputs, limits: Limits, progress: Progress) -> Scan:
    """What a scan of a version's training output says now, whatever is recorded of it.

    Raises:
        As `scan`.
    """
    ref = version.ref
    whole = Hashed(watched(outputs.chunks(version), f"scan {ref}", version.source.size, progress))
    scanner = Scanner()
    files = []
    with members_ahead(read_archive(whole, limits)) as members:
        for member in members:
            hashed = Hashed(scanner.watch(member.path, member.chunks))
            for _ in hashed:
                pass
            files.append(FileFact(path=member.path, size=member.size, sha256=hashed.digest))
    found = scanner.verdict()
    fact = Scan(
        source=whole.digest,
        size=whole.size,
        format=found.format,
        root=found.root,
        files=tuple(files),
        findings=scanner.findings(),
        scanner=scanner_name(),
    )
    check_size(fact)
    return fact


def check_size(fact: Scan) -> None:
    """Compare what a scan says with what a record may hold.

    Raises:
        Refused: it is more, since there are many files, or their paths are long.
    """
    size = len(fact.to_bytes())
    if size > RECORD_MAX:
        raise Refused(
            f"The archive's list of {len(fact.files)} files takes {size} bytes, and {RECORD_MAX} are the most: pack"
            " only what serving needs, or give files shorter paths."
        )
