"""Tokens of an OpenID Connect issuer, checked with the keys it publishes.

OpenID Connect Discovery 1.0 (section 4) says where the keys are, RFC 7517 what they look like, RFC 7519 what a token
says, RFC 8725 how not to be fooled: the algorithm is one of a list and has to fit the key, and a key comes from the
issuer alone, never from the token.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any, NamedTuple

from joserfc import jws
from joserfc._rfc7515.model import JWSAlgModel
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey
from joserfc.jwt import JWTClaimsRegistry

from registry.errors import SluiceError, Unavailable
from sluice.api.config import Serve, check_url

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
"""Signatures with a private key (RFC 7518, section 3.1; RFC 8037; RFC 9864): no shared secret, no `none`."""
TOKEN_MAX = 16_384
"""Characters of a token; one with hundreds of groups has half as many."""
_DOCUMENT_MAX = 1 << 20
_RSA_BITS_MIN = 2_048
_TIMEOUT = 5.0

PublicKey = RSAKey | ECKey | OKPKey


class BadToken(SluiceError):
    """The token is not one that this server takes (RFC 6750, section 3.1, `invalid_token`)."""


class _Kept(NamedTuple):
    keys: tuple[PublicKey, ...]
    at: float


class _Registry(jws.JWSRegistry):
    """As joserfc's, but of our algorithms alone, without a warning at each EdDSA, whose name RFC 9864 replaced."""

    max_header_length = 4_096

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in ALGORITHMS or name not in self.algorithms:
            raise BadToken(
                "The token is signed with an algorithm that is not taken: get one signed with RS256 or ES256."
            )
        return self.algorithms[name]


Fetch = Callable[[str], Mapping[str, Any]]


class Issuer:
    """One issuer: fetches its keys when they are needed, keeps them, and checks tokens with them.

    The keys are fetched again when they are `fresh` seconds old, and when a token names a key that is not among them,
    but never more often than every `pause` seconds, whatever comes in. While the issuer is down, its last keys hold
    for `stale` seconds.
    """

    def __init__(
        self,
        serve: Serve,
        *,
        fetch: Fetch | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: float = 10.0,
        fresh: float = 900.0,
        stale: float = 86_400.0,
    ) -> None:
        self._serve = serve
        self._fetch = fetch or fetch_json
        self._clock = clock
        self._pause, self._fresh, self._stale = pause, fresh, stale
        self._kept: _Kept | None = None
        self._tried: float | None = None
        self._lock = asyncio.Lock()
        self._registry = _Registry(strict_check_header=False)
        self._claims = JWTClaimsRegistry(
            leeway=serve.leeway,
            iss={"essential": True, "value": serve.issuer},
            aud={"essential": True, "value": serve.audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    async def claims(self, token: str) -> Mapping[str, Any]:
        """What a token says, once it is known to be the issuer's, meant for us, and of this time.

        Raises:
            BadToken: it is not.
            Unavailable: the issuer's keys cannot be had.
        """
        if len(token) > TOKEN_MAX:
            raise BadToken("The token is too long: get one with fewer claims.")
        try:
            signed = jws.extract_compact(token.encode(), registry=self._registry)
            key = await self._key(signed.headers())
            if not jws.validate_compact(signed, key, registry=self._registry):
                raise BadToken("The token's signature is not its issuer's: get a new one.")
            claims = json.loads(signed.payload)
            if not isinstance(claims, dict):
                raise BadToken("The token is no set of claims: get a new one.")
            self._claims.validate(claims)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise BadToken(_sentence(error)) from error
        return claims

    async def _key(self, header: Mapping[str, Any]) -> PublicKey:
        kid, algorithm = header.get("kid"), header.get("alg")
        self._registry.get_alg(str(algorithm))  # before anything is fetched for it
        keys = await self._keys()
        key = _pick(keys, kid, algorithm)
        if key is None:
            key = _pick(await self._keys(unknown=True), kid, algorithm)
        if key is None:
            raise BadToken("The token is signed with a key that its issuer does not publish: get a new one.")
        return key

    async def _keys(self, *, unknown: bool = False) -> tuple[PublicKey, ...]:
        if not self._due(unknown):
            return self._held()
        seen = self._kept
        async with self._lock:
            if self._kept is seen and self._due(unknown):  # nobody fetched while we waited
                self._tried = self._clock()
                try:
                    self._kept = _Kept(await asyncio.to_thread(self._load), self._tried)
                except Unavailable:
                    if self._kept is None:
                        raise
        return self._held()

    def _due(self, unknown: bool) -> bool:
        now = self._clock()
        if self._tried is not None and now - self._tried < self._pause:
            return False
        return unknown or self._kept is None or now - self._kept.at >= self._fresh

    def _held(self) -> tuple[PublicKey, ...]:
        if self._kept is None or self._clock() - self._kept.at > self._stale:
            raise Unavailable(
                f"The keys of {self._serve.issuer} cannot be had, so nobody is known: try again in a minute."
            )
        return self._kept.keys

    def _load(self) -> tuple[PublicKey, ...]:
        issuer = self._serve.issuer
        found = self._fetch(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != issuer:  # OpenID Connect Discovery 1.0, section 4.3
            raise Unavailable(f"{issuer} calls itself {str(found.get('issuer'))[:200]!r}: set serve.issuer to that.")
        try:
            address = check_url(str(found.get("jwks_uri")))
        except ValueError as error:
            raise Unavailable(f"{issuer} names no address for its keys ({error}): correct the issuer.") from error
        published = self._fetch(address).get("keys")
        keys = [_import(key) for key in published] if isinstance(published, list) else []
        usable = tuple(key for key in keys if key is not None)
        if not usable:
            raise Unavailable(f"{issuer} publishes no key that can be used: correct the issuer.")
        return usable


def fetch_json(url: str) -> Mapping[str, Any]:
    """The JSON object at `url`; neither redirects nor more than 1 MiB are followed.

    Raises:
        Unavailable: it cannot be had.
    """
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310  # see check_url
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT) as answer:
            found = json.loads(answer.read(_DOCUMENT_MAX))
    except (OSError, HTTPException, ValueError) as error:
        raise Unavailable(f"{url} cannot be read ({type(error).__name__}): try again in a minute.") from error
    if not isinstance(found, dict):
        raise Unavailable(f"{url} is no JSON object: correct the issuer.")
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002  # urllib calls it by these
        return None


def _import(published: object) -> PublicKey | None:
    """A key to check signatures with; None for what is not one, and for a shared secret, which a key set may hold."""
    if not isinstance(published, dict) or published.get("use", "sig") != "sig":
        return None
    public = {name: value for name, value in published.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "oth")}
    try:
        key = JWKRegistry.import_key(public)
    except (JoseError, ValueError, TypeError):
        return None
    if isinstance(key, RSAKey):
        return key if key.public_key.key_size >= _RSA_BITS_MIN else None
    return key if isinstance(key, ECKey | OKPKey) else None


def _pick(keys: tuple[PublicKey, ...], kid: object, algorithm: object) -> PublicKey | None:
    """The key that the token names. One that names none fits only where there is no choice."""
    fitting = [key for key in keys if key.get("alg") in (None, algorithm)]
    if kid is not None:
        return next((key for key in fitting if key.kid == kid), None)
    return fitting[0] if len(fitting) == 1 else None


_SAID = {
    "expired_token": "The token is expired: get a new one.",
    "missing_claim": "The token lacks a claim that is needed ({}): get one for this server.",
    "invalid_claim": "The token does not fit ({}): get one from this server's issuer, for its audience.",
}


def _sentence(error: Exception) -> str:
    said = _SAID.get(getattr(error, "error", ""), "The token cannot be read: get a new one.")
    return said.format(getattr(error, "description", ""))
