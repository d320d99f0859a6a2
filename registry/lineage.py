"""Where a version comes from and where it went: job, data, version, artifact, image, release commits; both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from registry.errors import NotFound
from registry.facts import Channel, Facts, Record, SourceKind, Version
from registry.names import Digest, ImageRef, ModelName, VersionNumber, VersionRef
from registry.rows import Row


class Deployment(Record):
    """One commit that changed what an environment runs of a model."""

    commit: str
    at: datetime
    by: str
    action: str
    model: ModelName
    number: VersionNumber | None
    environment: str
    weight: int | None = None


class Releases(Protocol):
    """What the GitOps repository knows, which the registry does not keep."""

    def naming(self, model: str) -> Mapping[int, Sequence[str]]:
        """By version, the environments whose release names it now.

        Raises:
            Unavailable: the repository cannot be reached.
        """

    def of(self, ref: VersionRef) -> tuple[Deployment, ...]:
        """The commits that are about a version, newest first."""

    def by(self, commit: str) -> tuple[Deployment, ...]:
        """What one commit, given by its id or the beginning of it, deployed.

        Raises:
            NotFound: there is no such commit.
        """


class NoReleases:
    """Where no GitOps repository is set: nothing is released, as far as anybody can tell."""

    def naming(self, model: str) -> Mapping[int, Sequence[str]]:
        """No release."""
        del model
        return {}

    def of(self, ref: VersionRef) -> tuple[Deployment, ...]:
        """No commits."""
        del ref
        return ()

    def by(self, commit: str) -> tuple[Deployment, ...]:
        """No commit.

        Raises:
            NotFound: always.
        """
        raise NotFound(f"No GitOps repository is set to look for commit {commit[:64]} in: give --gitops.")


class Lineage(Record):
    """All that a version is made of, and all that was made of it. What is not known yet is None or empty."""

    version: VersionNumber
    model: ModelName
    source: SourceKind
    job: str
    git_commit: str
    training_image: str
    inputs: tuple[Channel, ...]
    training_output: str
    output_digest: Digest | None
    artifact: Digest | None
    image: ImageRef | None
    base: Digest | None
    deployments: tuple[Deployment, ...]


def lineage(version: Version, facts: Facts, deployments: tuple[Deployment, ...]) -> Lineage:
    """Put together what is known of a version."""
    training = version.source.training
    return Lineage(
        model=version.model,
        version=version.number,
        source=version.source.kind,
        job=training.arn if training else version.source.package,
        git_commit=version.git_commit,
        training_image=training.image if training else "",
        inputs=training.inputs if training else (),
        training_output=version.source.uri,
        output_digest=facts.scan.source if facts.scan else version.source.digest,
        artifact=facts.artifact.blob if facts.artifact else None,
        image=facts.image.reference if facts.image else None,
        base=facts.image.base if facts.image else None,
        deployments=deployments,
    )


def trained_on(rows: Iterator[Row], prefix: str) -> Iterator[Row]:
    """Of these, the versions one of whose inputs lies at `prefix` or below it.

    `s3://data/fraud` is that object and the folder of that name, not `s3://data/fraud-2`; with a slash at the end it
    is the folder only.
    """
    folder = prefix if prefix.endswith("/") else prefix + "/"
    for row in rows:
        if any(uri == prefix or uri.startswith(folder) for uri in row.inputs):
            yield row
