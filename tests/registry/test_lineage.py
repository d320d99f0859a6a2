from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from registry import keys
from registry.errors import NotFound
from registry.facts import Artifact, Channel, Format, Image, Scan, Source, SourceKind
from registry.lineage import Deployment, NoReleases
from registry.memory import MemoryBytes, MemoryStore
from registry.names import VersionRef
from registry.registry import Registry
from registry.store import Store

Makes = Callable[..., Registry]
Sources = Callable[..., Source]
A, B, C = ("sha256:" + letter * 64 for letter in "abc")
ONE = VersionRef(model="fraud", number=1)
COMMIT = Deployment(
    commit="0f" * 20,
    at=datetime(2026, 1, 1, tzinfo=UTC),
    by="ann",
    action="promote",
    model="fraud",
    number=1,
    environment="prod",
    weight=10,
)


class Released(NoReleases):
    def of(self, ref: VersionRef) -> tuple[Deployment, ...]:
        return (COMMIT,) if ref == ONE else ()

    def by(self, commit: str) -> tuple[Deployment, ...]:
        return (COMMIT,) if COMMIT.commit.startswith(commit) else super().by(commit)


@pytest.fixture
def store() -> Store:
    return MemoryStore()


def channel(uri: str) -> dict[str, str]:
    return Channel(name="train", uri=uri).model_dump()


def test_from_the_job_and_its_data_to_the_commits_that_released_it(
    on: Makes, store: Store, source: Sources, place: MemoryBytes
) -> None:
    registry = on(store, releases=Released())
    made = source("j1", inputs=[channel("s3://data/fraud")])
    registry.register("fraud", made, actor="ann", git_commit="c0ffee")
    early = registry.lineage(ONE)
    assert (early.output_digest, early.artifact, early.image, early.base) == (None, None, None, None)
    registry.record(ONE, Scan(source=A, size=12, format=Format.TORCHSCRIPT, root="m", files=()))
    place.put(keys.blob(B), b"x")
    registry.record(ONE, Artifact(type="mar", source=A, blob=B, size=1, files=()))
    image = Image(reference=f"ghcr.io/fraud@{C}", artifact=B, base=A, runtime="torchserve", size=1)
    registry.record(ONE, image)
    found = registry.lineage(ONE)
    assert made.training is not None
    assert (found.model, found.version, found.source) == ("fraud", 1, SourceKind.TRAINING_JOB)
    assert (found.job, found.git_commit, found.training_image) == (made.training.arn, "c0ffee", "training:1")
    assert [one.uri for one in found.inputs] == ["s3://data/fraud"]
    assert (found.training_output, found.output_digest) == (made.uri, A)
    assert (found.artifact, found.image, found.base) == (B, image.reference, A)
    assert found.deployments == (COMMIT,)
    assert registry.deployed_by("0f0f") == (COMMIT,)
    with pytest.raises(NotFound):
        registry.deployed_by("ffff")
    with pytest.raises(NotFound):
        registry.lineage(VersionRef(model="fraud", number=2))


def test_without_a_training_job_or_a_repository_there_is_less_to_tell(on: Makes, store: Store) -> None:
    registry = on(store)
    source = Source(kind=SourceKind.MODEL_PACKAGE, uri="s3://abc/k", size=1, package="arn:package")
    registry.register("fraud", source, actor="ann")
    found = registry.lineage(ONE)
    assert (found.job, found.training_image, found.inputs, found.deployments) == ("arn:package", "", (), ())
    with pytest.raises(NotFound, match="No GitOps repository is set to look for commit 0f0f in: give --gitops"):
        registry.deployed_by("0f0f")


@pytest.mark.parametrize(
    ("prefix", "jobs"),
    [
        ("s3://data/fraud", {"folder", "object", "deep", "both"}),
        ("s3://data/fraud/", {"folder", "deep", "both"}),
        ("s3://data/fraud/2026", {"deep"}),
        ("s3://data/fraud-2", {"other", "both"}),
        ("s3://data", {"folder", "object", "deep", "other", "both"}),
        ("s3://dat", set()),
        ("s3://data/fraud/2026/x", set()),
    ],
)
def test_which_versions_were_trained_on_a_prefix(
    on: Makes, store: Store, source: Sources, prefix: str, jobs: set[str]
) -> None:
    registry = on(store)
    inputs = {
        "folder": ["s3://data/fraud/"],
        "object": ["s3://data/fraud"],
        "deep": ["s3://data/fraud/2026/"],
        "other": ["s3://data/fraud-2"],
        "both": ["s3://data/fraud-2/x", "s3://data/fraud/x"],
        "none": [],
    }
    for n, (job, uris) in enumerate(inputs.items()):
        made = source(job, inputs=[channel(uri) for uri in uris])
        registry.register("ab"[n % 2], made, actor="ann")
    assert {row.name for row in registry.trained_on(prefix)} == jobs
    of_one = {row.name for row in registry.trained_on(prefix, model="a")}
    assert of_one == jobs & {"folder", "deep", "both"}
