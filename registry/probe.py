"""Asks a store whether it keeps the two promises that everything stands on."""

from __future__ import annotations

from uuid import uuid4

from registry import keys
from registry.errors import Refused
from registry.store import AlreadyExists, Changed, Store

_SENTENCE = (
    "This object store ignores the {} condition on writes, so two writers could overwrite each other: use S3, or"
    " a server that keeps conditional writes, such as SeaweedFS 4.48 or newer."
)


def probe(store: Store) -> None:
    """Write the bucket's marker where a condition must forbid it; four small requests, five on an empty bucket.

    Raises:
        Refused: the store wrote although the condition did not hold.
    """
    if _created(store) and _created(store):
        raise Refused(_SENTENCE.format("If-None-Match"))
    try:
        store.replace(keys.MARKER, _marker(), '"00000000000000000000000000000000"')
    except Changed:
        return
    raise Refused(_SENTENCE.format("If-Match"))


def _created(store: Store) -> bool:
    try:
        store.create(keys.MARKER, _marker())
    except AlreadyExists:
        return False
    return True


def _marker() -> bytes:
    # never twice the same bytes: a create of bytes that are there already counts as done
    return f'{{"sluice": 1, "token": "{uuid4().hex}"}}\n'.encode()
