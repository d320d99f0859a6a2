"""The commit step: what gates are told of a version, and by which clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gitops.gates import Gate, Known
from pipelines.steps.commit import CommitInput, promotion
from registry.changes import Approval
from registry.errors import Conflict, NotFound
from registry.facts import Delivery, FileFact, Finding, Format, Image, Scan, Severity, Smoke, Source, SourceKind
from registry.memory import MemoryBlobs, MemoryBytes, MemoryOutputs, MemoryStore, etag_of
from registry.names import VersionRef
from registry.registry import Registry
from registry.roles import Role
from registry.storage import Storage

_AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
_DIGEST = f"sha256:{'1' * 64}"
_IMAGE = f"registry.example/fraud@{_DIGEST}"
_URI = "s3://training/model.tar.gz"


@pytest.fixture
def registry() -> Registry:
    place = MemoryBytes()
    storage = Storage(MemoryStore(), MemoryOutputs(place, {_URI: b"any"}), MemoryBlobs(place), place)
    return Registry(storage, clock=lambda: _AT)


@pytest.fixture
def ref(registry: Registry) -> VersionRef:
    source = Source(kind=SourceKind.S3, uri=_URI, etag=etag_of(b"any"), size=3)
    return registry.register("fraud", source, actor="tests").version.ref


@pytest.fixture
def built(registry: Registry, ref: VersionRef) -> VersionRef:
    registry.record(
        ref,
        Image(reference=_IMAGE, artifact=_DIGEST, base=_DIGEST, runtime="torchserve", size=3, delivery=Delivery.IMAGE),
    )
    return ref


def known(ref: VersionRef, registry: Registry, role: Role = Role.RELEASER) -> Known:
    wanted = CommitInput(ref=ref, environment="prod", weight=10, requested_by="ann", role=role)
    return promotion(wanted, registry).known


def scan(*severities: Severity, scanner: str = "picklescan 1.0") -> Scan:
    return Scan(
        source=_DIGEST,
        size=3,
        format=Format.TORCHSCRIPT,
        root="model.pt",
        files=(FileFact(path="model.pt", size=3, sha256=_DIGEST),),
        findings=tuple(Finding(path="model.pt", rule="code", severity=each) for each in severities),
        scanner=scanner,
    )


def test_of_what_nobody_recorded_nothing_is_known(registry: Registry, built: VersionRef) -> None:
    assert known(built, registry, Role.VIEWER) == Known(at=_AT, role=Role.VIEWER)


@pytest.mark.parametrize(
    ("found", "scanner", "worst"),
    [
        (scan(), "picklescan 1.0", None),
        (scan(Severity.WARNING, Severity.NOTE), "picklescan 1.0", Severity.WARNING),
        (scan(scanner=""), "", None),
    ],
)
def test_what_the_scan_found(
    found: Scan, scanner: str, worst: Severity | None, registry: Registry, built: VersionRef
) -> None:
    registry.record(built, found)
    told = known(built, registry)
    assert (told.scanner, told.worst) == (scanner, worst)


def test_the_last_decision_and_the_smoke_test_count(registry: Registry, built: VersionRef) -> None:
    registry.decide(built, Approval.REJECTED, actor="bo")
    registry.decide(built, Approval.APPROVED, actor="ann")
    smoke = Smoke(image=_IMAGE, passed=False, detail="503", at=_AT, by="ci")
    registry.record(built, smoke, actor="ci")
    told = known(built, registry)
    assert (told.approval, told.smoke) == (Approval.APPROVED, smoke)


def test_what_is_asked_goes_along(registry: Registry, built: VersionRef) -> None:
    request = CommitInput(
        ref=built,
        environment="prod",
        weight=10,
        requested_by="ann",
        role=Role.ADMIN,
        source="staging",
        override=(Gate.FREEZE,),
        reason="it cannot wait",
        workflow="release-x7k2p",
    )
    asked = promotion(request, registry)
    assert (asked.to.image, asked.weight, asked.requested_by, asked.source) == (_IMAGE, 10, "ann", "staging")
    assert (asked.override, asked.reason, asked.workflow) == ((Gate.FREEZE,), "it cannot wait", "release-x7k2p")
    assert asked.known == Known(at=_AT, role=Role.ADMIN)


def test_what_is_not_there_cannot_be_promoted(registry: Registry, ref: VersionRef) -> None:
    with pytest.raises(Conflict, match=r"fraud@1 has no image yet: build it with `sluice build fraud@1` first"):
        known(ref, registry)
    with pytest.raises(NotFound, match="There is no version fraud@2"):
        known(VersionRef(model="fraud", number=2), registry)


def test_what_was_deleted_is_not_promoted(registry: Registry, built: VersionRef) -> None:
    registry.delete(built, actor="ann", reason="wrong data")
    with pytest.raises(NotFound, match="fraud@1 was deleted: choose another version"):
        known(built, registry)
