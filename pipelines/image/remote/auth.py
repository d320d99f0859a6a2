"""Getting in: Basic (RFC 7617), and tokens of the distribution project's "Token Authentication Specification".

What we are to a registry is shown to that registry, and to the token service that it names, which for Docker Hub is
another host; never to anyone else, and never in plain http but on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.image.remote.challenges import Challenge, parse_challenges
from pipelines.image.remote.credentials import TOKEN_USER, Credentials, Login
from registry.errors import Refused

_LIFE = 60.0
"""Seconds that a token is good for where nothing else is said (the specification's own default)."""
_LONGEST_LIFE = 24 * 3600.0
_TOKEN_MAX = 64 << 10


class TokenService(Protocol):
    """Asks a token service; the transport's part."""

    def __call__(
        self, realm: str, params: list[tuple[str, str]], form: Mapping[str, str] | None, authorization: str | None
    ) -> bytes:
        """The body of its answer; `form` is posted where there is one.

        Raises:
            Refused: the realm may not be asked, or does not take what we showed.
            Unavailable: it does not answer.
        """


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    token: str = ""
    access_token: str = ""
    expires_in: float = _LIFE


class _Token(NamedTuple):
    header: str
    good_until: float


class _Bearer(NamedTuple):
    realm: str
    service: str


class Authorizer:
    """What to send to one registry in Authorization. Safe for several threads at once."""

    def __init__(
        self, host: str, credentials: Credentials, ask: TokenService, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._host, self._credentials, self._ask, self._clock = host, credentials, ask, clock
        self._lock = Lock()
        self._bearer: _Bearer | None = None
        self._basic = False
        self._tokens: dict[tuple[str, ...], _Token] = {}

    def header(self, scopes: tuple[str, ...]) -> str | None:
        """What to send with a request that needs these scopes, by what the registry asked for earlier; None at first.

        A token is renewed before it expires.
        """
        with self._lock:
            if self._bearer:
                return self._token(self._bearer, scopes)
            login = self._credentials.login(self._host) if self._basic else None
            return login.basic if login else None

    def renewed(self, challenges: Iterable[str], scopes: tuple[str, ...], sent: str | None) -> str | None:
        """What to send instead of `sent`, which the registry did not take; None where there is nothing else.

        `challenges` are the WWW-Authenticate headers of its answer.

        Raises:
            Refused: it asks for what cannot be given to it.
        """
        asked = {challenge.scheme: challenge for challenge in reversed(parse_challenges(challenges))}
        with self._lock:
            if bearer := asked.get("bearer"):
                return self._renewed_token(bearer, scopes, sent)
            if "basic" in asked or self._basic:
                return self._renewed_basic(sent)
        return None

    def _renewed_token(self, challenge: Challenge, scopes: tuple[str, ...], sent: str | None) -> str | None:
        params = challenge.params
        if not params.get("realm"):
            raise Refused(f"{self._host} asks for a token and does not say where to get one: check its address.")
        if sent is not None and params.get("error") == "insufficient_scope":
            return None
        self._bearer = _Bearer(params["realm"], params.get("service", ""))
        known = self._tokens.get(scopes)
        if known and known.header == sent:  # else another thread renewed it meanwhile
            del self._tokens[scopes]
        return self._token(self._bearer, scopes)

    def _renewed_basic(self, sent: str | None) -> str | None:
        self._basic = True
        login = self._credentials.login(self._host)
        if login and login.basic == sent:
            self._credentials.forget(self._host)
            login = self._credentials.login(self._host)
        return login.basic if login and login.basic != sent else None

    def _token(self, bearer: _Bearer, scopes: tuple[str, ...]) -> str:
        now = self._clock()
        known = self._tokens.get(scopes)
        if known and now < known.good_until:
            return known.header
        self._tokens = {key: token for key, token in self._tokens.items() if now < token.good_until}
        login = self._credentials.login(self._host)
        try:
            answer = self._fetch(bearer, scopes, login)
        except Refused:
            self._credentials.forget(self._host)
            newer = self._credentials.login(self._host)
            if newer == login:
                raise
            answer = self._fetch(bearer, scopes, newer)
        life = min(max(answer.expires_in, 0.0), _LONGEST_LIFE)
        token = _Token(f"Bearer {self._checked(answer)}", now + life - min(30.0, life / 4))
        self._tokens[scopes] = token
        return token.header

    def _fetch(self, bearer: _Bearer, scopes: tuple[str, ...], login: Login | None) -> _Answer:
        if login and login.user == TOKEN_USER:
            form = {"grant_type": "refresh_token", "refresh_token": login.secret, "client_id": "sluice"}
            form |= {"service": bearer.service, "scope": " ".join(scopes)}
            data = self._ask(bearer.realm, [], form, None)
        else:
            params = [*([("service", bearer.service)] if bearer.service else []), *(("scope", one) for one in scopes)]
            data = self._ask(bearer.realm, params, None, login.basic if login else None)
        try:
            return _Answer.model_validate_json(data)
        except ValidationError:  # no cause: pydantic's report would show the token
            raise self._no_token() from None

    def _checked(self, answer: _Answer) -> str:
        token = answer.token or answer.access_token
        if not token or len(token) > _TOKEN_MAX or not (token.isascii() and token.isprintable()) or " " in token:
            raise self._no_token()
        return token

    def _no_token(self) -> Refused:
        return Refused(f"The token service of {self._host} does not answer with a token: check the registry's address.")
