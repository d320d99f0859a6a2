"""Errors as answers: problem details (RFC 9457) for everything, and nothing of the server's inside in them.

| what | status |
| --- | --- |
| the request cannot be read (`Malformed`, no JSON) | 400 |
| nothing tells who asks (`Unauthenticated`) | 401 |
| whoever asks has no such role (`Forbidden`), a rule forbids it (`Refused`) | 403 |
| `NotFound` | 404 |
| `Conflict` | 409 |
| `Changed` since it was read, and the request said If-Match | 412 |
| the body is too long, of another type | 413, 415 |
| `InvalidInput` | 422 |
| `Unavailable`, with Retry-After | 503 |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable
from sluice.api.access import Forbidden

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "sluice.request_id"
"""Where the request's id is in an ASGI scope."""
_RETRY_AFTER = "5"
_ERRORS_MAX = 20


class Malformed(InvalidInput):
    """The request itself cannot be read: a header, a cursor, the JSON of the body."""


class Unauthenticated(SluiceError):
    """Nothing tells who asks, or what does is not valid; `challenge` is for WWW-Authenticate (RFC 6750, section 3)."""

    def __init__(self, sentence: str, challenge: str) -> None:
        super().__init__(sentence)
        self.challenge = challenge


class PreconditionFailed(Conflict):
    """It is no longer what the request's If-Match says (RFC 9110, section 13.1.1)."""


class Flaw(BaseModel):
    """What is wrong in one place of a request."""

    model_config = ConfigDict(frozen=True)

    detail: str
    pointer: str | None = None
    """Where in the body, as a JSON pointer's URI fragment (RFC 6901, section 6)."""
    parameter: str | None = None
    """Which parameter of the path, the query or the headers."""


class Problem(BaseModel):
    """An error (RFC 9457, section 3.1, with the members `request_id` and `errors`)."""

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: tuple[Flaw, ...] | None = None


_STATUS: Mapping[type[SluiceError], tuple[int, str]] = {
    Malformed: (400, "malformed"),
    Unauthenticated: (401, "unauthenticated"),
    Forbidden: (403, "forbidden"),
    PreconditionFailed: (412, "precondition-failed"),
    InvalidInput: (422, "invalid-input"),
    NotFound: (404, "not-found"),
    Refused: (403, "refused"),
    Conflict: (409, "conflict"),
    Unavailable: (503, "unavailable"),
    SluiceError: (500, "failed"),
}
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""As RFC 9110 has them; Python's older versions have RFC 7231's."""
_SENTENCES = {
    404: "There is nothing at this address: see /openapi.json for those there are.",
    405: "This address does not take {method}: the Allow header says what it takes.",
}


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every error that a route raises a problem. `routes` are all there are, for the Allow header."""

    async def handle(request: Request, error: Exception) -> Response:
        answer = problem_of(request.scope, error)
        if answer.status_code == 405:
            # the framework names the methods of the first route that fits; all are due (RFC 9110, section 15.5.6)
            answer.headers["Allow"] = ", ".join(_methods(routes, request.scope["path"]))
        return answer

    for kind in (SluiceError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle)


def problem_of(scope: Scope, error: Exception) -> Response:
    """The answer to a request that ended with `error`."""
    if isinstance(error, SluiceError):
        return _of_sluice(scope, error)
    if isinstance(error, RequestValidationError):
        return _of_validation(scope, error)
    if isinstance(error, HTTPException):
        detail = _SENTENCES.get(error.status_code, error.detail).replace("{method}", scope["method"][:20])
        if not detail.endswith("."):  # not our words
            detail += ": correct the request."
        return problem(scope, error.status_code, detail, headers=error.headers)
    return problem(scope, 500, "Something went wrong here: tell the server's operator the request's id.")


def problem(
    scope: Scope,
    status: int,
    detail: str,
    *,
    kind: str = "",
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Flaw] = (),
) -> Response:
    """An answer with problem details."""
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    body = Problem(
        type="urn:sluice:problem:" + (kind or title.lower().replace(" ", "-")),
        title=title,
        status=status,
        detail=detail,
        request_id=scope.get(REQUEST_ID, ""),
        errors=tuple(errors) or None,
    )
    content = json.dumps(body.model_dump(exclude_none=True)).encode()
    return Response(content, status, headers={"Cache-Control": "no-store", **(headers or {})}, media_type=MEDIA_TYPE)


def _methods(routes: Sequence[BaseRoute], path: str) -> list[str]:
    fitting = [route for route in routes if isinstance(route, Route | APIRoute) and route.path_regex.match(path)]
    return sorted({method for route in fitting for method in route.methods or ()})


def _of_sluice(scope: Scope, error: SluiceError) -> Response:
    status, kind = next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = error.challenge
    if isinstance(error, Unavailable):
        headers["Retry-After"] = _RETRY_AFTER
    return problem(scope, status, str(error), kind=kind, headers=headers)


def _of_validation(scope: Scope, error: RequestValidationError) -> Response:
    found = error.errors()
    if any(each.get("type") == "json_invalid" for each in found):
        return problem(scope, 400, "The body is not JSON: correct it.", kind="malformed")
    flaws = [_flaw(each) for each in found[:_ERRORS_MAX]]
    first = flaws[0]
    where = first.parameter or (first.pointer or "#").removeprefix("#/").replace("/", ".")
    detail = f"{'The body' if where == '#' else where} does not fit ({first.detail}): correct it."
    return problem(scope, 422, detail, kind="invalid-input", errors=flaws)


def _flaw(found: Mapping[str, Any]) -> Flaw:
    place, *loc = found.get("loc") or ("body",)
    said = str(found.get("msg", "not valid"))[:500]
    if place == "body":
        return Flaw(detail=said, pointer="#" + "".join(f"/{_escaped(step)}" for step in loc))
    return Flaw(detail=said, parameter=".".join(map(str, loc))[:200])


def _escaped(step: object) -> str:
    return str(step)[:200].replace("~", "~0").replace("/", "~1")
