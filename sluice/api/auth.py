"""Finds out who asks, before anything else of a request is looked at (RFC 6750: `Authorization: Bearer …`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from registry.limits import ACTOR_MAX, one_line
from sluice.api import tokens
from sluice.api.access import Principal, everything, principal
from sluice.api.config import Serve
from sluice.api.oidc import BadToken, Issuer
from sluice.api.problems import Malformed, Unauthenticated

PRINCIPAL = "sluice.principal"
"""Where whoever asks is in an ASGI scope."""
_REALM = 'Bearer realm="sluice"'
_GROUPS_MAX = 1_000


class Authenticator:
    """Tells from an Authorization header who asks."""

    def __init__(self, serve: Serve, *, actor: str, issuer: Issuer | None = None) -> None:
        """Without an issuer and without tokens in the settings, everyone is `actor` and may do everything."""
        self._serve = serve
        self._open = None if serve.authenticates else everything(actor)
        self._issuer = issuer or (Issuer(serve) if serve.issuer else None)

    async def who(self, header: str | None) -> Principal:
        """Whoever sent this header.

        Raises:
            Unauthenticated: it is missing, or what it holds is not valid.
            Unavailable: the issuer's keys cannot be had.
        """
        if self._open is not None:
            return self._open
        scheme, _, token = (header or "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Nothing tells who asks: send `Authorization: Bearer` and a token.", _REALM)
        try:
            if token.startswith(tokens.PREFIX):
                return self._machine(token)
            if self._issuer is None:
                raise BadToken("The token is not one of this server's: make one with `sluice token`.")
            return self._person(await self._issuer.claims(token))
        except BadToken as error:
            challenge = f'{_REALM}, error="invalid_token", error_description="{_quotable(str(error))}"'
            raise Unauthenticated(str(error), challenge) from error

    def _machine(self, token: str) -> Principal:
        found = tokens.find(token, self._serve.tokens)
        if found is None:
            raise BadToken("The token is not one of this server's: make one with `sluice token`.")
        if found.expired():
            raise BadToken("The token is expired: make a new one with `sluice token`.")
        name = f"token:{found.name}"
        return principal(name, frozenset({name}), self._serve.grants)

    def _person(self, claims: Mapping[str, Any]) -> Principal:
        actor = _actor(claims, self._serve.user_claim)
        names = {f"user:{actor}"} | {f"group:{group}" for group in _groups(claims, self._serve.groups_claim)}
        return principal(actor, frozenset(names), self._serve.grants)


class Authentication:
    """Middleware: puts whoever asks into the scope, or refuses.

    `public` paths, and those below the ones that end with a slash, are let through without a look.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, public: Collection[str]) -> None:
        self._app = app
        self._authenticator = authenticator
        self._exact = frozenset(public)
        self._below = tuple(path for path in public if path.endswith("/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it.

        Raises:
            Unauthenticated: nothing valid tells who asks.
        """
        if scope["type"] == "websocket":  # there are none, and none without a look at who asks
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and not self._public(scope["path"]):
            scope[PRINCIPAL] = await self._authenticator.who(_header(scope))
        await self._app(scope, receive, send)

    def _public(self, path: str) -> bool:
        return path in self._exact or path.startswith(self._below)


def _header(scope: Scope) -> str | None:
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) > 1:
        raise Malformed("There are two Authorization headers: send one.")
    return found[0].decode("latin-1") if found else None


def _actor(claims: Mapping[str, Any], user_claim: str) -> str:
    """The claim that names the person; an address that the issuer says it did not verify is anyone's, so `sub` then."""
    named = claims.get(user_claim)
    if user_claim == "email" and claims.get("email_verified") in (False, "false"):
        named = None
    actor = named or claims["sub"]
    try:
        # whoever chooses their own name must not choose that of a machine
        if not isinstance(actor, str) or len(actor) > ACTOR_MAX or actor.startswith("token:"):
            raise ValueError
        return one_line(actor)
    except ValueError as error:
        raise BadToken(f"The token names nobody that records could ({user_claim}): get another one.") from error


def _groups(claims: Mapping[str, Any], path: str) -> Collection[str]:
    """The groups, under a name or, with dots, inside objects, as Keycloak's `realm_access.roles` are."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    groups = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return [group for group in groups[:_GROUPS_MAX] if isinstance(group, str)]


def _quotable(text: str) -> str:
    """`text` within a quoted string (RFC 6750, section 3: printable ASCII but quotes and backslashes)."""
    return "".join(letter if " " <= letter <= "~" and letter not in '"\\' else "'" for letter in text)
