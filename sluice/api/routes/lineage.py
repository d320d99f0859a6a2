"""Where versions come from and where they went, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from registry.limits import URI_MAX
from registry.lineage import Deployment, Lineage
from registry.names import ModelName, VersionRef
from registry.roles import Role
from registry.rows import Row
from sluice.api import paging
from sluice.api.access import Principal
from sluice.api.caching import revalidated
from sluice.api.deps import VIEWS, Given, ModelPath, NumberPath, SomeViewer
from sluice.api.parts import Parts
from sluice.api.problems import Malformed

router = APIRouter(prefix="/v1", tags=["lineage"])


@router.get("/models/{model}/versions/{number}/lineage", response_model=Lineage, dependencies=VIEWS)
def of_version(request: Request, parts: Given, model: ModelPath, number: NumberPath) -> Response:
    """From the job and its data to the release commits."""
    return revalidated(request, parts.registry.lineage(VersionRef(model=model, number=number)))


@router.get("/lineage", response_model=paging.Page[Row | Deployment])
def search(
    request: Request,
    parts: Given,
    who: SomeViewer,
    trained_on: Annotated[str, Query(max_length=URI_MAX, description="An S3 object, or a folder of them.")] = "",
    model: Annotated[ModelName | None, Query(description="With trained_on: this model's alone.")] = None,
    commit: Annotated[str, Query(max_length=64, description="A commit of the GitOps repository.")] = "",
    limit: paging.Limit = paging.LIMIT,
    cursor: paging.Cursor = "",
) -> Response:
    """The versions that were trained on some data, or what a commit deployed; of the models the caller may see."""
    if bool(trained_on) == bool(commit):
        raise Malformed("Nothing, or two things, to look for: give trained_on or commit.")
    if commit:
        deployed = [one for one in parts.registry.deployed_by(commit) if who.may(Role.VIEWER, one.model)]
        return paging.page(request, deployed, None)
    rows = _trained_on(parts, who, trained_on, model, paging.decode(cursor))
    some = list(islice(rows, limit + 1))
    return paging.page(request, some[:limit], str(some[limit - 1].ref) if len(some) > limit else None)


def _trained_on(parts: Parts, who: Principal, prefix: str, model: str | None, place: str) -> Iterator[Row]:
    """Models by name, versions falling; on from after the version that `place` names."""
    after = VersionRef.parse(place) if place else None
    names = [model] if model is not None else sorted(one.model.name for one in parts.registry.models())
    for name in names:
        if who.may(Role.VIEWER, name) and (after is None or name >= after.model):
            for row in parts.registry.trained_on(prefix, model=name):
                if after is None or name > after.model or row.number < after.number:
                    yield row
