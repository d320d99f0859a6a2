"""Whether this process lives, whether it can do its work, and its numbers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from starlette.responses import PlainTextResponse

from registry.errors import SluiceError, Unavailable
from registry.roles import Role
from sluice.api import deps
from sluice.api.access import EVERY_MODEL
from sluice.api.metrics import CONTENT_TYPE, Metrics

_KEPT = 1.0
_TIMEOUT = 5.0


class Readiness:
    """Asks `ready` at most once a second, however often it is asked itself, and waits five seconds for it."""

    def __init__(self, ready: Callable[[], None]) -> None:
        self._ready = ready
        self._lock = asyncio.Lock()
        self._at = float("-inf")
        self._said: str | None = None

    async def check(self) -> None:
        """Return where it is ready.

        Raises:
            Unavailable: it is not.
        """
        async with self._lock:
            if time.monotonic() - self._at >= _KEPT:
                self._said = await self._ask()
                self._at = time.monotonic()
            said = self._said
        if said is not None:
            raise Unavailable(said)

    async def _ask(self) -> str | None:
        try:
            await asyncio.wait_for(asyncio.to_thread(self._ready), _TIMEOUT)
        except TimeoutError:
            return "The store does not answer in time: check the endpoint and the network."
        except SluiceError as error:
            return str(error)
        return None


def health_router(readiness: Readiness, metrics: Metrics, *, open_metrics: bool) -> APIRouter:
    """/healthz, /readyz and /metrics."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @router.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz() -> Response:
        await readiness.check()
        return PlainTextResponse("ready\n")

    @router.get("/metrics")
    def numbers(request: Request) -> Response:
        if not open_metrics:
            deps.who_asks(request).check(Role.VIEWER, EVERY_MODEL)
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return router
