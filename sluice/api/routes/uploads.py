"""Bytes from whoever has no bucket: streamed into a blob, which is then registered by its digest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from anyio import from_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect

from registry import keys
from registry.errors import InvalidInput
from registry.names import Digest
from registry.progress import Silent
from registry.store import CHUNK
from sluice.api.deps import SOMEWHERE_RELEASES, Given, at_length

_STALLED = 60.0
"""Seconds that an upload may say nothing."""

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])


class Uploaded(BaseModel):
    """What is stored. It is collected as garbage after a day unless a version is registered on it."""

    model_config = ConfigDict(frozen=True)

    digest: Digest
    size: int


@router.put("", status_code=201, dependencies=SOMEWHERE_RELEASES)
async def upload(
    request: Request,
    parts: Given,
    digest: Annotated[Digest | None, Query(description="What the bytes must be; else they are refused.")] = None,
) -> Uploaded:
    """Store the body, of any length and type."""
    stream = _pieces(request.stream())

    def chunks() -> Iterator[bytes]:
        while piece := from_thread.run(anext, stream, b""):
            yield piece

    blob = await at_length(request, lambda: parts.blobs.put(chunks(), what="upload", progress=Silent()))
    if digest not in (None, blob.digest):
        raise InvalidInput(f"The bytes that came are {blob.digest}: send them again.")
    # whoever uploads registers next, and need not wait for this then
    await at_length(request, lambda: parts.registry.storage.bytes.seen(keys.blob(blob.digest)))
    return Uploaded(digest=blob.digest, size=blob.size)


async def _pieces(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream in pieces of a mebibyte, since each has to change threads."""
    held = bytearray()
    while (chunk := await _next(stream)) is not None:
        held += chunk
        if len(held) >= CHUNK:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    """The stream's next bytes, or None at its end. One that stalls must not keep its thread from others."""
    try:
        async with asyncio.timeout(_STALLED):
            return await anext(stream, None)
    except TimeoutError as error:
        raise InvalidInput(f"Nothing came for {_STALLED:.0f} seconds: send the body again.") from error
    except ClientDisconnect as error:
        raise InvalidInput("The body ended before it was whole: send it again.") from error
