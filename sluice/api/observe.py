"""The outermost middleware: gives each request an id, counts it, logs it, and answers where nothing else did."""

from __future__ import annotations

import re
import time
import traceback
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.errors import SluiceError
from sluice.api.auth import PRINCIPAL
from sluice.api.log import JsonLog
from sluice.api.metrics import Metrics
from sluice.api.problems import REQUEST_ID, problem_of

STREAM = "sluice.stream"
"""In the scope of a request that is answered by a stream of events, which lasts as long as it lasts."""
_SANE_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_UNROUTED = "-"
_ABANDONED = 499
"""Whoever asked went away before the answer began; nginx's number for it."""
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""On every answer that does not have one of its own (OWASP, "REST Security Cheat Sheet")."""


class Observe:
    """Middleware. Must be the first, since its own errors have nobody to answer them."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log: JsonLog) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answer = _Answer(send, _request_id(scope))
        scope[REQUEST_ID] = answer.request_id
        self._metrics.in_flight.inc()
        try:
            await self._answer(scope, receive, answer)
        finally:
            self._metrics.in_flight.dec()
            self._told(scope, answer, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            await self._app(scope, receive, answer)
        except (SluiceError, HTTPException) as error:
            if answer.status is not None:
                raise
            await problem_of(scope, error)(scope, receive, answer)
        except Exception as error:
            self._log("error", "failed", request_id=answer.request_id, error="".join(traceback.format_exception(error)))
            if answer.status is not None:
                raise
            await problem_of(scope, error)(scope, receive, answer)

    def _told(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        status = answer.status or _ABANDONED
        route = getattr(scope.get("route"), "path", _UNROUTED)
        self._metrics.observe(scope["method"], route, status, None if STREAM in scope else seconds)
        if route in _QUIET and status < 400:
            return
        who = scope.get(PRINCIPAL)
        self._log(
            "error" if status >= 500 else "info",
            "request",
            request_id=answer.request_id,
            method=scope["method"],
            route=route,
            path=scope["path"][:200],
            status=status,
            ms=round(seconds * 1000, 2),
            actor=who.actor if who is not None else None,
        )


class _Answer:
    """Sends on, sees the status, and adds the headers that every answer has."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            there = {name for name, _ in headers}
            headers.extend(header for header in _HEADERS if header[0] not in there)
            headers.append((b"x-request-id", self.request_id.encode()))
            message = {**message, "headers": headers}
        await self._send(message)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid4().hex
