"""Writes that may be sent again: the Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header-07)."""

from __future__ import annotations

import hashlib
import re

from fastapi import Request

from sluice.api.access import Principal
from sluice.api.problems import Malformed

_KEY = re.compile(r'"([\x20\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,255})')
"""A string as structured fields have it (RFC 8941, section 3.3.3), without escapes; or bare, as most send it."""


def token_of(request: Request, who: Principal) -> str | None:
    """The token for the registry's writing: the same for the same key, from the same caller at the same address;
    None without a key.

    Raises:
        Malformed: the header is no key.
    """
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    match = _KEY.fullmatch(given[0].strip()) if len(given) == 1 else None
    if match is None:
        raise Malformed("Idempotency-Key is no key: send one string of 1 to 255 characters, such as a UUID.")
    parts = (who.actor, request.method, request.url.path, match[1] or match[2])
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
