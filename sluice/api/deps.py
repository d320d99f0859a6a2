"""What routes ask for in their signatures: whoever asks, with the role that the route takes.

Every route has one of these; tests/sluice/api/test_routes.py proves it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, TypeVar

from anyio import to_thread
from fastapi import Depends, Path, Request

from registry.names import AliasName, ModelName, VersionNumber
from registry.roles import Role
from sluice.api.access import EVERY_MODEL, Principal
from sluice.api.auth import PRINCIPAL
from sluice.api.parts import Parts
from sluice.api.problems import Unauthenticated

T = TypeVar("T")

MARK = "sluice_checks_role"
"""An attribute of the dependencies that check a role."""

Dependency = Callable[[Request], Awaitable[Principal]]


def who_asks(request: Request) -> Principal:
    """Whoever asks.

    Raises:
        Unauthenticated: the route was opened to everyone, although it needs to know.
    """
    found = request.scope.get(PRINCIPAL)
    if not isinstance(found, Principal):
        raise Unauthenticated("Nothing tells who asks: send `Authorization: Bearer` and a token.", "Bearer")
    return found


def on_model(needed: Role) -> Dependency:
    """Whoever asks, with this role on the model that the path names."""

    async def dependency(request: Request) -> Principal:
        who = who_asks(request)
        who.check(needed, request.path_params["model"])
        return who

    return _marked(dependency)


def somewhere(needed: Role) -> Dependency:
    """Whoever asks, with this role on one model at least; the route leaves out what is of other models."""

    async def dependency(request: Request) -> Principal:
        who = who_asks(request)
        who.check_somewhere(needed)
        return who

    return _marked(dependency)


def on_every_model(needed: Role) -> Dependency:
    """Whoever asks, with this role on every model."""

    async def dependency(request: Request) -> Principal:
        who = who_asks(request)
        who.check(needed, EVERY_MODEL)
        return who

    return _marked(dependency)


def _marked(dependency: Dependency) -> Dependency:
    dependency.__dict__[MARK] = True
    return dependency


async def parts_of(request: Request) -> Parts:
    """The parts of Sluice that this application was made with."""
    parts: Parts = request.app.state.parts
    return parts


async def at_length(request: Request, work: Callable[[], T]) -> T:
    """Do in a thread what reads or writes bytes without end; a few at once, so that short requests find threads."""
    return await to_thread.run_sync(partial(work), limiter=request.app.state.at_length)


_LABEL = {"pattern": "^[a-z](-?[a-z0-9])*$", "maxLength": 40}
"""For the API's description; registry.names checks it."""
ModelPath = Annotated[ModelName, Path(description="A model's name.", json_schema_extra=_LABEL)]
AliasPath = Annotated[AliasName, Path(description="An alias's name, not `latest`.", json_schema_extra=_LABEL)]
NumberPath = Annotated[VersionNumber, Path(description="A version's number.")]
Given = Annotated[Parts, Depends(parts_of)]
Viewer = Annotated[Principal, Depends(on_model(Role.VIEWER))]
Releaser = Annotated[Principal, Depends(on_model(Role.RELEASER))]
Approver = Annotated[Principal, Depends(on_model(Role.APPROVER))]
Admin = Annotated[Principal, Depends(on_model(Role.ADMIN))]
VIEWS = (Depends(on_model(Role.VIEWER)),)
"""For a route that does not need to know who asks."""
RELEASES = (Depends(on_model(Role.RELEASER)),)
SOMEWHERE_RELEASES = (Depends(somewhere(Role.RELEASER)),)
SomeViewer = Annotated[Principal, Depends(somewhere(Role.VIEWER))]
SomeReleaser = Annotated[Principal, Depends(somewhere(Role.RELEASER))]
SomeAdmin = Annotated[Principal, Depends(somewhere(Role.ADMIN))]
Operator = Annotated[Principal, Depends(on_every_model(Role.ADMIN))]
