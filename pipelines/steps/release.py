"""All steps of a release in a row. Each finds out by itself whether it was done before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, Field

from gitops.message import Identity
from gitops.operations import Outcome
from gitops.release import Runtime, check_first_weight, check_weight
from gitops.state import read_environment, read_release
from pipelines.archive import Limits
from pipelines.image.images import BaseImage, Destination
from pipelines.steps.build import build
from pipelines.steps.commit import CommitInput, commit
from pipelines.steps.package import package
from pipelines.steps.register import RegisterInput, register
from registry.facts import Artifact, Image
from registry.names import EnvironmentName, ModelName, VersionRef
from registry.outputs import Outputs
from registry.progress import Progress
from registry.registry import Registry
from registry.sagemaker import Sources
from registry.store import Blobs

if TYPE_CHECKING:
    from gitops.repository import Repository


class Parts(Protocol):
    """What the steps work on, taken together."""

    @property
    def sources(self) -> Sources:
        """What can be registered."""

    @property
    def outputs(self) -> Outputs:
        """The registry's own copies of training outputs."""

    @property
    def registry(self) -> Registry:
        """Versions."""

    @property
    def blobs(self) -> Blobs:
        """Artifacts."""

    @property
    def destination(self) -> Destination:
        """Images."""

    @property
    def repository(self) -> Repository:
        """Releases."""

    def base(self, runtime: Runtime) -> BaseImage:
        """The base image for a runtime."""


class ReleaseInput(BaseModel):
    """What to release, as which model, to which environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """As the register step reads it: a training job, a model package, s3://…, or a path."""
    model: ModelName
    environment: EnvironmentName
    weight: int = Field(default=100, description="percentage of the traffic there, 1 to 100")
    actor: str


class ReleaseResult(BaseModel):
    """What came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    artifact: Artifact
    image: Image
    outcome: Outcome


def release(request: ReleaseInput, parts: Parts, author: Identity, progress: Progress) -> ReleaseResult:
    """Register, scan, package, build and commit; see the steps for what each refuses.

    What can be known before anything is written is looked at first: the weight, the environment, the git remote.
    """
    check_weight(request.weight)
    head = parts.repository.head()
    read_environment(head, request.environment)
    if read_release(head, request.model, request.environment) is None:
        check_first_weight(request.model, request.environment, request.weight)
    registry = parts.registry
    wish = RegisterInput(source=request.source, model=request.model, actor=request.actor)
    ref = register(wish, parts.sources, parts.blobs, registry, progress).ref
    artifact = package(ref, parts.outputs, registry, parts.blobs, Limits(), progress)
    image = build(ref, registry, parts.blobs, parts.base, parts.destination, progress)
    wanted = CommitInput(ref=ref, environment=request.environment, weight=request.weight, requested_by=request.actor)
    outcome = commit(wanted, registry, parts.repository, author, progress)
    return ReleaseResult(ref=ref, artifact=artifact, image=image, outcome=outcome)
