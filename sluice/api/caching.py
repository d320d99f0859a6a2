"""Answers that may be kept: ETag, If-None-Match and If-Match (RFC 9110, sections 8.8.3 and 13.1)."""

from __future__ import annotations

import hashlib

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from sluice.api.problems import PreconditionFailed

IMMUTABLE = "private, max-age=31536000, immutable"
"""For what never changes (RFC 8246), by whoever may read it and no cache between."""
REVALIDATED = "private, no-cache"
"""For what changes: kept, but asked for again each time."""


def immutable(request: Request, record: BaseModel, *, status: int = 200) -> Response:
    """A record that never changes; 304 where the client has it."""
    return _answer(request, record, IMMUTABLE, status)


def revalidated(request: Request, record: BaseModel, *, status: int = 200) -> Response:
    """A record that may change; 304 where the client has it as it is."""
    return _answer(request, record, REVALIDATED, status)


def etag_of(record: BaseModel) -> str:
    """The strong entity tag of a record as it is answered."""
    return _etag(record.model_dump_json().encode())


def check_if_match(request: Request, record: BaseModel) -> None:
    """Go on where the record is the one that the request's If-Match names, or where it names none.

    Raises:
        PreconditionFailed: it is another by now.
    """
    wanted = request.headers.get("if-match")
    if wanted is not None and wanted.strip() != "*" and etag_of(record) not in _tags(wanted):
        raise PreconditionFailed("It was changed since you read it: read it again and retry.")


def _answer(request: Request, record: BaseModel, control: str, status: int) -> Response:
    body = record.model_dump_json().encode()
    tag = _etag(body)
    headers = {"ETag": tag, "Cache-Control": control, "Vary": "Authorization"}
    known = request.headers.get("if-none-match")
    if request.method == "GET" and known is not None and (known.strip() == "*" or tag in _tags(known)):
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers=headers, media_type="application/json")


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _tags(header: str) -> set[str]:
    # If-None-Match compares weakly (RFC 9110, section 13.1.2); our tags hold no comma
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}
