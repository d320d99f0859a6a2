"""Aliases: names for versions, which move and remember where they were."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeInt, Strict
from starlette.responses import Response

from registry.changes import Alias, Move
from registry.errors import NotFound
from registry.limits import Reason
from registry.names import VersionNumber, VersionRef
from registry.roles import Role
from sluice.api import paging
from sluice.api.access import Principal
from sluice.api.caching import check_if_match, revalidated
from sluice.api.deps import VIEWS, AliasPath, Given, ModelPath, Releaser
from sluice.api.idempotency import token_of
from sluice.api.parts import Parts
from sluice.api.problems import PreconditionFailed

router = APIRouter(prefix="/v1/models/{model}/aliases", tags=["aliases"])

Expect = Annotated[NonNegativeInt | None, Query(description="What it must name now; 0 for nothing.")]


class Pointing(BaseModel):
    """Where to point an alias."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[VersionNumber, Strict()]
    expect: Annotated[NonNegativeInt, Strict()] | None = None
    """What it must name now, 0 for nothing; null for whatever it names. If-Match says the same with an ETag."""
    reason: Reason = ""


@router.get("", response_model=paging.Page[Alias], dependencies=VIEWS)
def list_aliases(request: Request, parts: Given, model: ModelPath) -> Response:
    """The aliases that name a version, by name."""
    return paging.page(request, tuple(parts.registry.aliases(model)), None)


@router.get("/{alias}", response_model=Alias, dependencies=VIEWS)
def get_alias(request: Request, parts: Given, model: ModelPath, alias: AliasPath) -> Response:
    """What an alias names, and its last moves."""
    return revalidated(request, parts.registry.alias(model, alias))


@router.put("/{alias}", response_model=Alias)
def set_alias(
    request: Request, parts: Given, who: Releaser, model: ModelPath, alias: AliasPath, body: Pointing
) -> Response:
    """Point an alias at a version. A protected one needs the role it is protected with."""
    moved = parts.registry.set_alias(
        VersionRef(model=model, number=body.version),
        alias,
        actor=who.actor,
        reason=body.reason,
        expect=_expected(request, parts, who, model, alias, body.expect),
        role=who.role(model) or Role.VIEWER,
        token=token_of(request, who),
    )
    return revalidated(request, moved)


@router.delete("/{alias}", response_model=Alias)
def remove_alias(
    request: Request,
    parts: Given,
    who: Releaser,
    model: ModelPath,
    alias: AliasPath,
    expect: Expect = None,
    reason: Annotated[Reason, Query()] = "",
) -> Response:
    """Let an alias name nothing; its history stays."""
    moved = parts.registry.remove_alias(
        model,
        alias,
        actor=who.actor,
        reason=reason,
        expect=_expected(request, parts, who, model, alias, expect),
        role=who.role(model) or Role.VIEWER,
        token=token_of(request, who),
    )
    return revalidated(request, moved)


@router.get("/{alias}/history", response_model=paging.Page[Move], dependencies=VIEWS)
def history(
    request: Request,
    parts: Given,
    model: ModelPath,
    alias: AliasPath,
    at: Annotated[AwareDatetime | None, Query(description="The one move in force at this moment (RFC 3339).")] = None,
) -> Response:
    """Every move of an alias, newest first; or the one that was in force at a moment."""
    if at is not None:
        return paging.page(request, [parts.registry.alias_at(model, alias, at)], None)
    return paging.page(request, parts.registry.alias_history(model, alias), None)


def _expected(request: Request, parts: Parts, who: Principal, model: str, alias: str, expect: int | None) -> int | None:
    """What the alias must name: as the request says it, or as the alias of its If-Match does."""
    if "if-match" not in request.headers:
        return expect
    try:
        there = parts.registry.alias(model, alias)
    except NotFound as error:
        raise PreconditionFailed(f"{model} has no alias {alias} any more: read it again and retry.") from error
    token = token_of(request, who)
    if token is not None and any(move.token == token for move in there.moves):
        return None  # this very request was answered before, and is answered alike
    check_if_match(request, there)
    return there.number if expect is None else expect
