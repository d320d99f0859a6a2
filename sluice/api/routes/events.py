"""What happens, as a list to go on from, or as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from registry import eventlog
from registry.changes import Event
from registry.eventlog import Happened
from registry.names import ModelName
from registry.roles import Role
from sluice.api import paging, sse
from sluice.api.access import Principal
from sluice.api.deps import Given, SomeViewer
from sluice.api.hub import Hub

router = APIRouter(prefix="/v1/events", tags=["events"])

After = Annotated[str, Query(max_length=300, description="A cursor, as events and pages have it; none for the oldest.")]


class Told(BaseModel):
    """An event. One may be told twice, under the same id, to whoever goes on from a cursor."""

    model_config = ConfigDict(frozen=True)

    id: str
    at: str
    """Its place among all events, whose order is that of the text."""
    cursor: str
    """Where to go on after it."""
    event: Event


@router.get(
    "",
    response_model=paging.Page[Told],
    responses={200: {"content": {sse.MEDIA_TYPE: {}}, "description": "A page, or with that Accept a stream."}},
)
async def events(
    request: Request,
    parts: Given,
    who: SomeViewer,
    model: ModelName | None = None,
    after: After = "",
    limit: paging.Limit = paging.LIMIT,
) -> Response:
    """What happened to the models that the caller may see. `next` is never null: it is where to ask on, later.

    With `Accept: text/event-stream` it goes on as things happen, each event once; `Last-Event-ID` resumes it.
    Whoever reads too slowly is cut off, and resumes.
    """
    if sse.wants_stream(request):
        return await sse.event_stream(request, _messages(request, who, model, sse.resumed(request, after)))
    found = await run_in_threadpool(parts.registry.events, after, limit=limit)
    items = [_told(one) for one in found.events if _is_for(who, model, one)]
    return paging.page_after(request, items, eventlog.unnamed(found.cursor))


async def _messages(
    request: Request, who: Principal, model: str | None, after: str
) -> AsyncGenerator[Sequence[sse.Part], None]:
    hub: Hub = request.app.state.hub
    async with aclosing(hub.since(after, sse.stopping(request))) as told:
        async for some in told:
            yield [some] if isinstance(some, str) else [_message(one) for one in some if _is_for(who, model, one)]


def _is_for(who: Principal, model: str | None, one: Happened) -> bool:
    return model in (None, one.event.model) and who.may(Role.VIEWER, one.event.model)


def _told(one: Happened) -> Told:
    return Told(id=one.id, at=one.at, cursor=one.cursor, event=one.event)


def _message(one: Happened) -> sse.Message:
    return sse.Message(one.cursor, one.event.kind.value, _told(one).model_dump_json())
