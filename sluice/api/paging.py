"""Lists in pages: `?limit=` and an opaque `?cursor=`, the next one in the body and in a Link header (RFC 8288)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json
from starlette.responses import Response

from registry.limits import PAGE_MAX
from sluice.api.problems import Malformed

T = TypeVar("T")

LIMIT = 100
CURSOR_MAX = 1_000

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="At most so many; a page may hold fewer.")]
Cursor = Annotated[str, Query(max_length=CURSOR_MAX, description="`next` of the page before; none for the first.")]


class Page(BaseModel, Generic[T]):
    """Some of a list. There is more where `next` is not null, however few are here."""

    model_config = ConfigDict(frozen=True)

    items: tuple[T, ...]
    next: str | None = None


def page(request: Request, items: Sequence[Any], after: str | None) -> Response:
    """A page of records, and where to go on after it; None where it is the last."""
    lines = [item.model_dump_json().encode() if isinstance(item, BaseModel) else to_json(item) for item in items]
    return page_of_lines(request, lines, after)


def page_of_lines(request: Request, lines: Sequence[bytes], after: str | None) -> Response:
    """The same of records that are JSON already."""
    cursor = None if after is None else encode(after)
    link = None if cursor is None else _with(request, "cursor", cursor)
    return _answer(lines, cursor, link)


def page_after(request: Request, items: Sequence[BaseModel], after: str) -> Response:
    """A page of what has no end, whose cursor is called `after` and stands for itself."""
    return _answer([item.model_dump_json().encode() for item in items], after, _with(request, "after", after))


def _answer(lines: Sequence[bytes], cursor: str | None, link: str | None) -> Response:
    body = b'{"items":[' + b",".join(lines) + b'],"next":' + to_json(cursor) + b"}"
    headers = {} if link is None else {"Link": f'<{link}>; rel="next"'}
    return Response(body, headers=headers, media_type="application/json")


def encode(after: str) -> str:
    """A cursor that stands for `after`."""
    return base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    """What a cursor stands for; "" for none.

    Raises:
        Malformed: it is none of ours.
    """
    try:
        if not cursor.isascii():
            raise ValueError
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Malformed("The cursor is not one of this server's: begin again without it.") from error


def _with(request: Request, name: str, cursor: str) -> str:
    """This request's address with another cursor; relative, since a proxy may know us by another name."""
    query = [(key, value) for key, value in parse_qsl(request.url.query, keep_blank_values=True) if key != name]
    return f"?{urlencode([*query, (name, cursor)])}"
