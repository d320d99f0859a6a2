"""Reads the bytes of versions from end to end, and tells whether they are the ones that were registered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum

from pydantic import NonNegativeInt

from registry.errors import NotFound, Refused
from registry.facts import Facts, Record, Version
from registry.names import Digest, VersionRef
from registry.outputs import Outputs
from registry.progress import Progress
from registry.store import Blobs


class Verdict(StrEnum):
    """What reading told."""

    GOOD = "good"
    DAMAGED = "damaged"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """All of it is there, and has the size it had; its digest is known once it is scanned."""


class Check(Record):
    """One thing that was read."""

    what: str
    """`output`, the training output, or `artifact`, the packaged model."""
    verdict: Verdict
    size: NonNegativeInt
    """Bytes that were read."""
    expected: Digest | None
    found: Digest | None


class Verification(Record):
    """All that was read of a version."""

    ref: VersionRef
    good: bool
    """Whether nothing is damaged or missing."""
    checks: tuple[Check, ...]


def verify(version: Version, facts: Facts, outputs: Outputs, blobs: Blobs, progress: Progress) -> Verification:
    """Read a version's training output and artifact and compare their sha256 with what is recorded.

    Raises:
        Unavailable: the store cannot be read.
    """
    checks = []
    if version.output:
        expected = facts.scan.source if facts.scan else version.source.digest
        checks.append(_check("output", expected, outputs.chunks(version), version.source.size, progress))
    if facts.artifact:
        blob = facts.artifact.blob
        checks.append(_check("artifact", blob, blobs.chunks(blob), facts.artifact.size, progress))
    good = all(check.verdict in (Verdict.GOOD, Verdict.UNKNOWN) for check in checks)
    return Verification(ref=version.ref, good=good, checks=tuple(checks))


def _check(what: str, expected: str | None, chunks: Iterable[bytes], total: int, progress: Progress) -> Check:
    seen, size = hashlib.sha256(), 0
    verdict = Verdict.GOOD
    try:
        for chunk in chunks:
            seen.update(chunk)
            size += len(chunk)
            progress.bytes(f"verify {what}", size, total)
    except NotFound:
        return Check(what=what, verdict=Verdict.MISSING, size=0, expected=expected, found=None)
    except Refused:
        verdict = Verdict.DAMAGED
    found = "sha256:" + seen.hexdigest()
    if expected is not None and found != expected:
        verdict = Verdict.DAMAGED
    elif expected is None and verdict is Verdict.GOOD:
        verdict = Verdict.UNKNOWN
    return Check(what=what, verdict=verdict, size=size, expected=expected, found=found)
