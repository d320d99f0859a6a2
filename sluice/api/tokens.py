"""Tokens of machines: 256 random bits, kept as a sha256, which needs no salt and no stretching for so many bits."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from sluice.api.config import StaticToken

PREFIX = "sluice_"
"""Tells these tokens from an issuer's, and lets scanners for leaked secrets know them."""


def new_token() -> str:
    """A token that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """What the settings keep of a token."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def find(token: str, known: Sequence[StaticToken]) -> StaticToken | None:
    """Which of `known` it is. Compares with all of them, each in constant time."""
    hashed = hash_of(token)
    found = None
    for candidate in known:
        if hmac.compare_digest(hashed, candidate.hash):
            found = candidate
    return found
