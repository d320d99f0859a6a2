"""All steps of a release in a row. Each finds out by itself whether it was done before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, Field

from gitops.config import Model
from gitops.gates import ensure_releaser
from gitops.message import Identity
from gitops.operations import Outcome
from gitops.release import Runtime, check_first_weight, check_weight
from gitops.state import read_environment, read_release, said_of
from pipelines.image.builder import Builder
from pipelines.image.compression import DEFAULT_COMPRESSION, Compression
from pipelines.image.images import BaseImage, Destination
from pipelines.image.layers import Recipes
from pipelines.steps.attest import attest
from pipelines.steps.build import BuildInput, build
from pipelines.steps.commit import CommitInput, commit
from pipelines.steps.package import PackageInput, package
from pipelines.steps.register import RegisterInput, register
from registry.facts import Artifact, Image, Severity
from registry.names import EnvironmentName, ModelName, VersionRef
from registry.outputs import Outputs
from registry.progress import Progress
from registry.registry import Registry
from registry.roles import Role
from registry.sagemaker import Sources
from registry.store import Blobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from gitops.repository import Repository
    from pipelines.supply.signing import Signer


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
    def recipes(self) -> Recipes:
        """Layers that were made before."""

    @property
    def destination(self) -> Destination:
        """Images."""

    @property
    def repository(self) -> Repository:
        """Releases."""

    @property
    def signer(self) -> Signer | None:
        """What signs images, if anything does."""

    def base(self, ref: VersionRef, settings: Model, progress: Progress) -> Callable[[Runtime], BaseImage]:
        """From a model server, the base image for a packaged version, with what it needs beyond the usual one."""


class ReleaseInput(BaseModel):
    """What to release, as which model, to which environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """As the register step reads it: a training job, a model package, s3://…, or a path."""
    model: ModelName
    environment: EnvironmentName
    weight: int = Field(default=100, description="percentage of the traffic there, 1 to 100")
    actor: str
    role: Role = Role.RELEASER
    """The role in which it is asked."""
    workflow: str = ""
    """The Argo workflow that asks, by name."""
    refuse: Severity | None = Severity.DANGER
    """As the package step reads it."""
    compression: Compression = DEFAULT_COMPRESSION
    """Of the image's layers."""


class ReleaseResult(BaseModel):
    """What came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    artifact: Artifact
    image: Image
    outcome: Outcome


def release(request: ReleaseInput, parts: Parts, author: Identity, progress: Progress) -> ReleaseResult:
    """Register, scan, package, build and commit; see the steps for what each refuses.

    What can be known before anything is written is looked at first: the weight, the environment, the git remote, and
    whether who asks may release there. The environment's other gates are asked when all is built, which is not in
    vain: given again once they let it pass, the release only commits.
    """
    check_weight(request.weight)
    signer = parts.signer
    head = parts.repository.head()
    ensure_releaser(read_environment(head, request.environment), request.actor, request.role)
    if read_release(head, request.model, request.environment) is None:
        check_first_weight(request.model, request.environment, request.weight)
    registry = parts.registry
    wish = RegisterInput(source=request.source, model=request.model, actor=request.actor)
    ref = register(wish, parts.sources, parts.blobs, registry, progress).ref
    settings = said_of(head, request.model)
    artifact = package(PackageInput.of(ref, settings, request.refuse), parts.outputs, registry, parts.blobs, progress)
    builder = Builder(parts.blobs, parts.recipes, parts.destination, progress)
    base = parts.base(ref, settings, progress)
    wish_built = BuildInput.of(ref, settings, request.compression)
    image = build(wish_built, registry, builder, base, parts.destination, progress)
    attest(ref, registry, parts.blobs, parts.destination, signer, progress)
    wanted = CommitInput(
        ref=ref,
        environment=request.environment,
        weight=request.weight,
        requested_by=request.actor,
        role=request.role,
        workflow=request.workflow,
    )
    outcome = commit(wanted, registry, parts.repository, author, progress)
    return ReleaseResult(ref=ref, artifact=artifact, image=image, outcome=outcome)
