"""Step 5: a built version takes traffic, by a commit."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from gitops.gates import Gate, Known
from gitops.message import Identity
from gitops.operations import Outcome, promote_in
from gitops.promote import Promotion
from gitops.release import Deployed, Runtime
from registry.changes import Approval
from registry.errors import Conflict, NotFound, Refused
from registry.facts import Facts
from registry.names import EnvironmentName, VersionRef
from registry.progress import Progress
from registry.reader import Reader
from registry.roles import Role

if TYPE_CHECKING:
    from gitops.repository import Repository


class CommitInput(BaseModel):
    """Which version is to take how much of which environment's traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    environment: EnvironmentName
    weight: int = Field(description="percentage of the traffic, 1 to 100")
    requested_by: str
    role: Role = Role.RELEASER
    """The role in which it is asked."""
    unhold: str = ""
    source: EnvironmentName | None = None
    """The environment whose stable version it is, where it was chosen so."""
    override: tuple[Gate, ...] = ()
    reason: str = ""
    workflow: str = ""
    """The Argo workflow that runs this step, by name."""


def promotion(request: CommitInput, registry: Reader) -> Promotion:
    """What to ask of the GitOps repository, with the version's image and what gates ask as the registry knows it.

    Raises:
        NotFound: there is no such version, or it was deleted.
        Conflict: it has no image yet.
        Refused: it is for a runtime that a newer Sluice knows.
    """
    facts = registry.facts(request.ref)
    image = facts.image
    if facts.deleted is not None:
        raise NotFound(f"{request.ref} was deleted: choose another version.")
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
        source=request.source,
        known=_known(facts, registry.approval(request.ref), request.role, registry.records.now()),
        override=request.override,
        reason=request.reason,
        workflow=request.workflow,
    )


def _known(facts: Facts, approval: Approval, role: Role, at: datetime) -> Known:
    """What gates are told of the version."""
    scan = facts.scan
    return Known(
        scanner=scan.scanner if scan else "",
        worst=scan.worst if scan else None,
        smoke=facts.smoke,
        approval=approval,
        role=role,
        at=at,
    )


def commit(
    request: CommitInput, registry: Reader, repository: Repository, author: Identity, progress: Progress
) -> Outcome:
    """Commit the version's share of the traffic; where it has it already, nothing is committed.

    Raises:
        NotFound: there is no such version or environment.
        Conflict: the version has no image yet, or another version is the canary.
        Refused: gates refuse, or the version is held; see `gitops.promote.promote`.
    """
    outcome = promote_in(repository, promotion(request, registry), author, progress)
    if outcome.commit:
        progress.fact(f"{outcome.commit[:12]} {outcome.subject}")
    else:
        progress.fact(f"{request.ref} has {request.weight} % of {request.environment} already: nothing to commit")
    return outcome
