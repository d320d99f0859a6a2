"""Work on the whole registry: collecting garbage, registering what was trained, making lists anew."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool

from pipelines.steps.register import SweepInput, sweep
from registry.collect import Collected
from registry.facts import Version
from registry.limits import TagKey, TagValue
from registry.names import ModelName
from registry.progress import Silent
from registry.roles import Role
from sluice.api.access import EVERY_MODEL
from sluice.api.deps import Given, Operator, SomeAdmin, SomeReleaser, at_length

router = APIRouter(prefix="/v1", tags=["upkeep"])


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Collection(_Body):
    """How to collect."""

    grace_hours: Annotated[float, Field(ge=1, le=24 * 365, allow_inf_nan=False)] = 24
    """Bytes that nobody names stay for so long."""
    dry_run: StrictBool = False


class SweepRequest(_Body):
    """Which training jobs to register, as which model."""

    model: ModelName
    since: AwareDatetime
    """Jobs that completed then or later."""
    name: Annotated[str, Field(max_length=100)] = ""
    """A pattern of their names, as for files."""
    tag: TagKey | None = None
    """A tag that they must have."""
    tag_value: TagValue | None = None


class SweptJob(_Body):
    """What became of one job: a version, or why not."""

    job: str
    version: Version | None
    problem: str = ""


class Sweep(_Body):
    """What a sweep did; jobs that were registered before are not in it."""

    jobs: tuple[SweptJob, ...]


class Rebuilding(_Body):
    """Whose lists to make anew."""

    model: ModelName | None = None
    """null: those of all models."""


@router.post("/gc")
async def collect(request: Request, parts: Given, who: Operator, body: Collection) -> Collected:
    """Remove the bytes that nobody names."""
    grace = timedelta(hours=body.grace_hours)
    return await at_length(request, lambda: parts.registry.collect(actor=who.actor, grace=grace, dry_run=body.dry_run))


@router.post("/sweeps")
async def sweep_jobs(request: Request, parts: Given, who: SomeReleaser, body: SweepRequest) -> Sweep:
    """Register the training jobs that never were. Broken off, it goes on when it is sent again."""
    who.check(Role.RELEASER, body.model)
    tag = (body.tag, body.tag_value) if body.tag else None
    asked = SweepInput(since=body.since, model=body.model, actor=who.actor, name=body.name, tag=tag)
    swept = await at_length(request, lambda: list(sweep(asked, parts.sources, parts.registry, Silent())))
    return Sweep(jobs=tuple(SweptJob(job=one.job, version=one.version, problem=one.problem) for one in swept))


@router.post("/rebuild", status_code=204)
async def rebuild(request: Request, parts: Given, who: SomeAdmin, body: Rebuilding) -> None:
    """Make the lists anew from the records, where somebody changed the bucket by other means."""
    who.check(Role.ADMIN, body.model or EVERY_MODEL)
    if body.model is not None:
        await at_length(request, lambda: parts.registry.model(body.model or ""))
    await at_length(request, lambda: parts.registry.rebuild(body.model))
