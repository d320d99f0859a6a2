"""Models: what is said of them, and their end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from registry.changes import Deletion, Model, ModelEdit, Summary
from registry.errors import Conflict
from registry.limits import Reason
from registry.roles import Role
from sluice.api import paging
from sluice.api.caching import check_if_match, revalidated
from sluice.api.deps import VIEWS, Admin, Given, ModelPath, Releaser, SomeViewer
from sluice.api.problems import Malformed, PreconditionFailed

router = APIRouter(prefix="/v1/models", tags=["models"])

_Pair = Annotated[str, Field(json_schema_extra={"pattern": "^[^=]+=.*$"})]
TagFilter = Annotated[list[_Pair], Query(max_length=50, description="`key=value`; of several, all.")]


def tags_of(given: list[str]) -> Mapping[str, str]:
    """Tags out of `key=value`.

    Raises:
        Malformed: one has no `=`.
    """
    pairs = [text.partition("=") for text in given]
    if not all(equals and key for key, equals, _ in pairs):
        raise Malformed("A tag to look for has no name or no value: write it as tag=key=value.")
    return {key: value for key, _, value in pairs}


@router.get("", response_model=paging.Page[Summary])
def list_models(
    request: Request,
    parts: Given,
    who: SomeViewer,
    search: Annotated[str, Query(max_length=40, description="Part of a name.")] = "",
    tag: TagFilter = [],  # noqa: B006  # FastAPI copies it
    owner: str | None = None,
    limit: paging.Limit = paging.LIMIT,
    cursor: paging.Cursor = "",
) -> Response:
    """The models that the caller may see, the one with the newest registration first."""
    found = parts.registry.models(search=search, tag=tags_of(tag), owner=owner)
    seen = (one for one in found if who.may(Role.VIEWER, one.model.name))
    some = list(islice(_after(seen, paging.decode(cursor)), limit + 1))
    return paging.page(request, some[:limit], _place(some[limit - 1]) if len(some) > limit else None)


@router.get("/{model}", response_model=Model, dependencies=VIEWS)
def get_model(request: Request, parts: Given, model: ModelPath) -> Response:
    """What is said of a model."""
    return revalidated(request, parts.registry.model(model))


@router.patch("/{model}", response_model=Model)
def edit_model(request: Request, parts: Given, who: Releaser, model: ModelPath, changes: ModelEdit) -> Response:
    """Change what is said of a model; null takes a tag or a link away (RFC 7396). Protecting aliases takes an admin."""
    role = who.role(model) or Role.VIEWER
    if "if-match" not in request.headers:
        return revalidated(request, parts.registry.edit_model(model, changes, actor=who.actor, role=role))
    there = parts.registry.model(model)
    check_if_match(request, there)
    try:
        after = parts.registry.edit_model(model, changes, actor=who.actor, role=role, expect=there)
    except Conflict as error:
        raise PreconditionFailed(str(error)) from error
    return revalidated(request, after)


@router.delete("/{model}")
def delete_model(parts: Given, who: Admin, model: ModelPath, reason: Annotated[Reason, Query()] = "") -> Deletion:
    """Delete a model and all its versions; nothing may be released, and no alias may name one."""
    return parts.registry.delete_model(model, actor=who.actor, reason=reason)


def _place(summary: Summary) -> str:
    return f"{summary.updated_at.isoformat()} {summary.model.name}"


def _after(found: Iterator[Summary], place: str) -> Iterator[Summary]:
    """Those that come after a place in the order of the list, newest first."""
    from datetime import datetime

    if not place:
        yield from found
        return
    at, _, name = place.partition(" ")
    try:
        last = (datetime.fromisoformat(at), name)
    except ValueError as error:
        raise Malformed("The cursor is not one of this list's: begin again without it.") from error
    for one in found:
        if (one.updated_at, one.model.name) < last:
            yield one
