"""Versions: made, listed, looked at, compared, read from end to end, and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from pipelines.steps.register import find
from registry import keys
from registry.compare import Comparison
from registry.errors import InvalidInput, NotFound, Refused
from registry.facts import Source, SourceKind, Tombstone, Version
from registry.limits import Description, Line, Metrics, Parameters, Reason, Tags
from registry.names import AliasRef, S3Uri, VersionNumber, VersionRef, check_digest, parse_reference
from registry.progress import Silent
from registry.rows import Row
from registry.verify import Verification
from sluice.api import paging
from sluice.api.caching import immutable
from sluice.api.deps import RELEASES, VIEWS, Admin, Given, ModelPath, NumberPath, Releaser, at_length
from sluice.api.parts import Parts
from sluice.api.problems import Malformed
from sluice.api.routes.models import TagFilter, tags_of

router = APIRouter(prefix="/v1/models/{model}", tags=["versions"])


class Registration(BaseModel):
    """What to register."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Line
    """A training job, by name or ARN; a model package, by ARN or as `group/7`; `s3://…`; `sha256:…` of an upload."""
    metrics: Metrics = {}
    """Beside the training job's own, and over them."""
    parameters: Parameters = {}
    """Of an upload: what it was trained with. Of all else the server finds that out itself."""
    tags: Tags = {}
    git_commit: Line = ""
    """Of the training code; by default what the job tells."""
    description: Description = ""


class Found(BaseModel):
    """The version on a source, deleted or not; null where there never was one."""

    model_config = ConfigDict(frozen=True)

    version: Version | None


@router.post("/versions", response_model=Version, responses={201: {"model": Version}})
def register(request: Request, parts: Given, who: Releaser, model: ModelPath, body: Registration) -> Response:
    """Make the next version, 201, or find the one that was made of this source before, 200."""
    source = _source(parts, body.source, body.parameters)
    made = parts.registry.register(
        model,
        source,
        actor=who.actor,
        metrics=body.metrics,
        tags=body.tags,
        git_commit=body.git_commit,
        description=body.description,
    )
    answer = immutable(request, made.version, status=201 if made.created else 200)
    answer.headers["Location"] = f"/v1/models/{model}/versions/{made.version.number}"
    return answer


@router.get("/registered", dependencies=RELEASES)
def registered(
    parts: Given,
    model: ModelPath,
    source: Annotated[Line, Query(description="As registering has it.")],
) -> Found:
    """The version that was made of a source, which takes whoever may register it."""
    return Found(version=parts.registry.registered(model, _source(parts, source, {})))


@router.get("/versions", response_model=paging.Page[Row], dependencies=VIEWS)
def list_versions(
    request: Request,
    parts: Given,
    model: ModelPath,
    deleted: bool = False,
    below: Annotated[VersionNumber | None, Query(description="Begin with the one below this number.")] = None,
    tag: TagFilter = [],  # noqa: B006  # FastAPI copies it
    limit: paging.Limit = paging.LIMIT,
    cursor: paging.Cursor = "",
) -> Response:
    """A model's versions, newest first."""
    place = paging.decode(cursor)
    below = _below(place) if place else below
    if not tag:
        lines = parts.registry.version_lines(model, limit + 1, below=below, deleted=deleted)
        last = Row.model_validate_json(lines[limit - 1]).number if len(lines) > limit else None
        return paging.page_of_lines(request, lines[:limit], None if last is None else str(last))
    rows = parts.registry.versions(model, below=below, deleted=deleted, tag=tags_of(tag))
    some = list(islice(rows, limit + 1))
    return paging.page(request, some[:limit], str(some[limit - 1].number) if len(some) > limit else None)


@router.get("/versions/{number}", response_model=Version, dependencies=VIEWS)
def get_version(request: Request, parts: Given, model: ModelPath, number: NumberPath) -> Response:
    """A version's record, which never changes; what was learnt of it since is under /facts."""
    return immutable(request, parts.registry.version(VersionRef(model=model, number=number)))


@router.delete("/versions/{number}")
def delete_version(
    parts: Given, who: Admin, model: ModelPath, number: NumberPath, reason: Annotated[Reason, Query()] = ""
) -> Tombstone:
    """Delete a version; no release and no alias may name it."""
    return parts.registry.delete(VersionRef(model=model, number=number), actor=who.actor, reason=reason)


@router.post("/versions/{number}/verify", dependencies=RELEASES)
async def verify(request: Request, parts: Given, model: ModelPath, number: NumberPath) -> Verification:
    """Read a version's bytes from end to end, which takes its time, and compare them with what is recorded."""
    ref = VersionRef(model=model, number=number)
    return await at_length(request, lambda: parts.registry.verify(ref))


@router.get("/resolve/{reference}", dependencies=VIEWS)
def resolve(parts: Given, model: ModelPath, reference: str) -> VersionRef:
    """The version that a number, an alias or `latest` names now."""
    asked = parse_reference(f"{model}@{reference}")
    # an alias names a version that is there, a number may be anything
    return parts.registry.resolve(asked) if isinstance(asked, AliasRef) else parts.registry.version(asked).ref


@router.get("/compare", dependencies=VIEWS)
def compare(
    parts: Given,
    model: ModelPath,
    versions: Annotated[str, Query(pattern=r"^[1-9][0-9]{0,9}(,[1-9][0-9]{0,9})*$", max_length=300)],
) -> Comparison:
    """Versions side by side, `?versions=6,7`, measured against the first."""
    try:
        refs = [VersionRef(model=model, number=int(number)) for number in versions.split(",")]
    except ValueError as error:
        raise InvalidInput("A version's number is too large: correct it.") from error
    return parts.registry.compare(refs)


def _source(parts: Parts, text: str, parameters: Mapping[str, str]) -> Source:
    if text.startswith("sha256:"):
        digest = check_digest(text)
        there = parts.registry.storage.bytes.seen(keys.blob(digest))
        if there is None:
            raise NotFound(f"The bucket has no upload {digest}: PUT its bytes to /v1/uploads first.")
        return Source(kind=SourceKind.UPLOAD, uri=digest, digest=digest, size=there.size, parameters=parameters)
    if parameters:
        raise InvalidInput("Parameters are an upload's alone, a job has its own: leave them out.")
    # or a releaser of one model could make versions of the bytes of another, which they may not see
    if text.startswith("s3://") and S3Uri.parse(text).bucket == parts.bucket:
        raise Refused(f"{text[:200]} is the registry's own: register where it came from.")
    found = find(parts.sources, None, text, Silent())
    if found.uri.startswith(f"s3://{parts.bucket}/"):
        raise Refused(f"The output of {text[:200]} is the registry's own: register where it came from.")
    return found


def _below(place: str) -> int:
    if not (place.isascii() and place.isdigit() and len(place) <= 10):
        raise Malformed("The cursor is not one of this list's: begin again without it.")
    return int(place)
