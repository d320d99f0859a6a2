"""Asking a Sluice server: the token, the answers and the problems (RFC 9457), and what is tried again.

The token goes to the one server that was named, in a header, never after a redirect, and over plain http to this
machine alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.hosts import is_loopback
from registry.retry import retrying
from registry.text import plain

if TYPE_CHECKING:
    import httpx

A = TypeVar("A", bound=BaseModel)
T = TypeVar("T")
R = TypeVar("R")

TOKEN = "SLUICE_TOKEN"  # noqa: S105  # a variable's name
"""The environment variable with the token, where none is given."""
LONG = 3_600.0
"""Seconds to wait for the answer to what reads or copies bytes without end."""
COPYING = 600.0
"""Seconds to wait while the server takes its copy of one output."""
PAGE = 1_000

Query = Mapping[str, str | int | bool | Sequence[str] | None]
"""Parameters of an address; those that are None are left out."""

_BY_STATUS: Mapping[int, type[SluiceError]] = {
    400: InvalidInput,
    401: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    500: SluiceError,
    503: Unavailable,
}


class NotDone(Unavailable):
    """It is known that the request was not done: nobody was reached, or the server said so."""


class Listed(BaseModel, Generic[T]):
    """A page of a list."""

    model_config = ConfigDict(frozen=True)

    items: tuple[T, ...]
    next: str | None = None


class _Problem(BaseModel):
    type: str
    detail: str


class Wire:
    """One Sluice server.

    Raises:
        InvalidInput: the address is none of a server, or holds credentials, or the token cannot be one.
        Refused: the token would go over plain http to another machine.
    """

    def __init__(self, url: str, *, token: str | None, timeout: float) -> None:
        import httpx

        self.url, host = _address(url)
        given = os.environ.get(TOKEN, "") if token is None else token
        if given and self.url.startswith("http:") and not is_loopback(host):
            raise Refused(f"A token is not sent over plain http to {host}: give the server's https:// address.")
        self._timeout = timeout
        try:
            self._client = httpx.Client(
                headers={"Accept": "application/json", "User-Agent": "sluice", **_authorization(given)},
                timeout=httpx.Timeout(timeout, connect=min(timeout, 10)),
                follow_redirects=False,
                trust_env=not is_loopback(host),
            )
        except (ImportError, OSError, ValueError) as error:  # of HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE
            raise InvalidInput(
                f"The proxy or certificate settings of the environment cannot be used ({plain(str(error)[:200])}):"
                " correct them."
            ) from error

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def get(self, path: str, kind: type[A], query: Query | None = None) -> A:
        """Read what is at a path.

        Raises:
            SluiceError: as the server says it, or Unavailable where it does not answer.
        """
        return self._parsed(kind, retrying()(self._once, "GET", path, query))

    def pages(self, path: str, kind: type[Listed[T]], query: Query) -> Iterator[T]:
        """Every item of a list, a page at a time.

        Raises:
            SluiceError: as `get`.
        """
        cursor: str | None = ""
        while cursor is not None:
            page = self.get(path, kind, {**query, "limit": PAGE, "cursor": cursor})
            yield from page.items
            cursor = page.next

    def send(
        self, method: str, path: str, kind: type[A], body: object = None, *, query: Query | None = None, key: str = ""
    ) -> A:
        """Write something that may be written twice, under the same Idempotency-Key each time.

        Raises:
            SluiceError: as `get`.
        """
        return self._parsed(kind, self.answer(method, path, body, query=query, key=key))

    def answer(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Query | None = None,
        key: str = "",
        timeout: float | None = None,
    ) -> httpx.Response:
        """As `send`, the answer itself."""
        return retrying()(self._once, method, path, query, body, key=key, timeout=timeout)

    def send_once(
        self, method: str, path: str, body: object = None, *, query: Query | None = None, timeout: float | None = None
    ) -> bytes:
        """Ask for what takes long, or must not be asked for twice; again only where it is known that it was not done.

        Raises:
            SluiceError: as `get`.
        """
        return retrying(when=NotDone)(self._once, method, path, query, body, timeout=timeout).content

    def put_bytes(self, path: str, kind: type[A], chunks: Iterator[bytes]) -> A:
        """Send a stream of bytes, once.

        Raises:
            SluiceError: as `get`.
        """
        import httpx

        timeout = httpx.Timeout(self._timeout, read=LONG, connect=10)
        headers = {"Content-Type": "application/octet-stream"}
        request = self._client.build_request("PUT", self.url + path, content=chunks, headers=headers, timeout=timeout)
        return self._parsed(kind, self._sent(request))

    def stream(self, path: str, query: Query, headers: Mapping[str, str], *, silence: float) -> httpx.Response:
        """An answer whose bytes are still to come, none for `silence` seconds at most; the caller closes it.

        Raises:
            SluiceError: as `get`, tried for a minute.
        """
        import httpx

        timeout = httpx.Timeout(self._timeout, read=silence, connect=10)

        def once() -> httpx.Response:
            request = self._client.build_request(
                "GET", self.url + path, params=_given(query), headers=dict(headers), timeout=timeout
            )
            return self._sent(request, stream=True)

        found: httpx.Response = retrying(12, first=0.5)(once)
        return found

    def parse(self, data: bytes, kind: type[A]) -> A:
        """Read an answer.

        Raises:
            InvalidInput: it is none that this version of the client knows.
        """
        try:
            return kind.model_validate_json(data)
        except ValidationError as error:
            raise self._foreign() from error

    def _parsed(self, kind: type[A], response: httpx.Response) -> A:
        return self.parse(response.content, kind)

    def _once(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: object = None,
        *,
        key: str = "",
        timeout: float | None = None,
    ) -> httpx.Response:
        import httpx
        from pydantic_core import to_json

        headers = {"Idempotency-Key": f'"{key}"'} if key else {}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = to_json(body, inf_nan_mode="strings")
        limit = httpx.Timeout(timeout, connect=10) if timeout else httpx.USE_CLIENT_DEFAULT
        request = self._client.build_request(
            method, self.url + path, params=_given(query), content=content, headers=headers, timeout=limit
        )
        return self._sent(request)

    def _sent(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        response: httpx.Response = self.translated(lambda: self._client.send(request, stream=stream))
        if response.is_success:
            return response
        with closing(response):
            self.translated(response.read)
        raise self._error(response)

    def translated(self, function: Callable[[], R]) -> R:
        """Call `function`, and raise what httpx raises as ours.

        Raises:
            Unavailable: the server was not reached, or broke off.
        """
        import httpx

        try:
            return function()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NotDone(f"{self.url} cannot be reached: check the address and the network.") from error
        except (httpx.TransportError, httpx.StreamError) as error:
            raise Unavailable(f"{self.url} broke off ({type(error).__name__}): try again.") from error
        except (httpx.InvalidURL, httpx.DecodingError) as error:
            raise self._foreign() from error

    def _error(self, response: httpx.Response) -> SluiceError:
        status = response.status_code
        if response.is_redirect:
            return Refused(f"{self.url} sends to another address ({status}): give that address itself.")
        try:
            problem = _Problem.model_validate_json(response.content)
        except ValidationError:
            return self._of_another(status)
        kind = _BY_STATUS.get(status, InvalidInput if status < 500 else Unavailable)
        return (NotDone if kind is Unavailable else kind)(plain(problem.detail[:2_000]))

    def _of_another(self, status: int) -> SluiceError:
        """Whoever stands before the server answered, or there is no Sluice at all."""
        if status in (429, 500, 502, 503, 504):
            return Unavailable(f"{self.url} is overloaded or failing ({status}): try again in a minute.")
        if status in (401, 403):
            return Refused(f"{self.url} denies this ({status}): check the token.")
        return self._foreign()

    def _foreign(self) -> InvalidInput:
        return InvalidInput(
            f"{self.url} does not answer as a Sluice server of this version does: check the address, and update the"
            " older of the two."
        )


def _address(url: str) -> tuple[str, str]:
    """The address as requests begin with it, and its host."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if "@" in parts.netloc:
        raise InvalidInput(f"A server's address may not hold a user or a password: set {TOKEN} instead.")
    sound = url.isascii() and url.isprintable() and not set(" \\") & set(url)
    if not sound or not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise InvalidInput("The address is none of a Sluice server: write it as https://host.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", host


def _authorization(token: str) -> dict[str, str]:
    if not token:
        return {}
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise InvalidInput(f"The token holds a blank, a line feed or another letter that none has: set {TOKEN} again.")
    return {"Authorization": f"Bearer {token}"}


def _given(query: Query | None) -> Any:
    """The parameters that are given, in httpx's form."""
    return {name: value for name, value in (query or {}).items() if value is not None} or None
