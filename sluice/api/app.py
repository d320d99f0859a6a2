"""The application: middlewares in their order, and the routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypedDict

from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from registry.limits import RECORD_MAX
from sluice.api import problems
from sluice.api.auth import Authentication, Authenticator
from sluice.api.bodies import Bodies
from sluice.api.document import describe
from sluice.api.guard import Guard
from sluice.api.health import Readiness, health_router
from sluice.api.hub import Hub
from sluice.api.log import JsonLog
from sluice.api.metrics import Metrics
from sluice.api.observe import Observe
from sluice.api.oidc import Issuer
from sluice.api.parts import Parts
from sluice.api.routes import ROUTERS
from sluice.settings import Settings

PUBLIC = ("/healthz", "/readyz")
STREAMS = ("/v1/uploads",)
"""Where a body is a stream of bytes, of any length."""


_AT_LENGTH = 8
"""Requests that move or read bytes without end, at once; there are 40 threads in all."""


class State(TypedDict):
    """What every request's state holds."""

    stopping: asyncio.Event
    """Set when the server begins to shut down, so that streams end by themselves."""


def create_app(
    parts: Parts,
    settings: Settings,
    *,
    routers: Sequence[APIRouter] = (),
    public: Sequence[str] = (),
    issuer: Issuer | None = None,
    log: JsonLog | None = None,
) -> FastAPI:
    """The application for one set of parts and settings.

    `routers` are added to the registry's own; `public` are paths, or folders that end with a slash, which nobody has
    to be known for. The parts are closed when the application ends.

    Raises:
        InvalidInput: the settings' actor cannot be one, where everyone is that.
    """
    serve, metrics, hub = settings.serve, Metrics(), Hub(parts)
    actor = "" if serve.authenticates else parts.actor
    opened = (*PUBLIC, *(["/metrics"] if serve.open_metrics else []), *public)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        try:
            yield State(stopping=asyncio.Event())
        finally:
            await hub.close()
            await asyncio.to_thread(parts.close)

    app = FastAPI(
        title="Sluice",
        summary="A model registry that is nothing but an S3 bucket.",
        version=_version(),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        responses={"4XX": _PROBLEM, "5XX": _PROBLEM},
        middleware=[
            Middleware(Observe, metrics, log or JsonLog()),
            Middleware(Guard, authenticates=serve.authenticates),
            Middleware(Authentication, Authenticator(serve, actor=actor, issuer=issuer), opened),
            Middleware(Bodies, limit=RECORD_MAX, streams=STREAMS),
        ],
    )
    app.state.parts, app.state.serve = parts, serve
    app.state.at_length, app.state.hub = CapacityLimiter(_AT_LENGTH), hub
    health = health_router(Readiness(parts.ready), metrics, open_metrics=serve.open_metrics)
    every = (health, *ROUTERS, *routers)
    problems.install(app, [*app.routes, *(route for router in every for route in router.routes)])
    for router in every:
        app.include_router(router)
    describe(app, authenticates=serve.authenticates)
    return app


_PROBLEM = {"model": problems.Problem, "content": {problems.MEDIA_TYPE: {}}, "description": "A problem (RFC 9457)."}


def _version() -> str:
    from importlib.metadata import version

    return version("sluicegate")
