"""Step 5: a built version takes traffic, by a commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from gitops.message import Identity
from gitops.operations import Outcome, promote_in
from gitops.promote import Promotion
from gitops.release import Deployed, Runtime
from registry.errors import Conflict, Refused
from registry.facts import Image
from registry.names import EnvironmentName, VersionRef
from registry.progress import Progress
from registry.registry import Registry

if TYPE_CHECKING:
    from gitops.repository import Repository


class CommitInput(BaseModel):
    """Which version is to take how much of which environment's traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    environment: EnvironmentName
    weight: int = Field(description="percentage of the traffic, 1 to 100")
    requested_by: str
    unhold: str = ""


def promotion(request: CommitInput, registry: Registry) -> Promotion:
    """What to ask of the GitOps repository, with the version's image as the registry knows it.

    Raises:
        NotFound: there is no such version.
        Conflict: it has no image yet.
        Refused: it is for a runtime that a newer Sluice knows.
    """
    registry.version(request.ref)
    image = registry.fact(request.ref, Image)
    if image is None:
        raise Conflict(f"{request.ref} has no image yet: build it with `sluice build {request.ref}` first.")
    if image.runtime not in set(Runtime):
        raise Refused(f"{request.ref} is for the runtime {image.runtime[:40]!r}, which this Sluice lacks: upgrade it.")
    deployed = Deployed(
        version=request.ref.number,
        image=image.server or image.reference,
        runtime=Runtime(image.runtime),
        volume=image.reference if image.server else None,
    )
    return Promotion(
        model=request.ref.model,
        environment=request.environment,
        to=deployed,
        weight=request.weight,
        requested_by=request.requested_by,
        unhold=request.unhold,
    )


def commit(
    request: CommitInput, registry: Registry, repository: Repository, author: Identity, progress: Progress
) -> Outcome:
    """Commit the version's share of the traffic; where it has it already, nothing is committed.

    Raises:
        NotFound: there is no such version or environment.
        Conflict: the version has no image yet, or another version is the canary.
    """
    outcome = promote_in(repository, promotion(request, registry), author, progress)
    if outcome.commit:
        progress.fact(f"{outcome.commit[:12]} {outcome.subject}")
    else:
        progress.fact(f"{request.ref} has {request.weight} % of {request.environment} already: nothing to commit")
    return outcome
