"""The one place that sends requests to a registry: where they may go, what they carry, and what an answer means.

An Authorization header goes to the registry itself and to no other host, not even after a redirect: what a registry
redirects to is a presigned URL, which is a secret of its own. So no URL is ever part of a message.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pipelines.image.remote.answers import Answer, Fault, Said, denied, fault_after, read_said, refusal
from pipelines.image.remote.auth import Authorizer
from pipelines.image.remote.credentials import Anonymous, Credentials
from pipelines.image.remote.names import bare, root_of
from registry.errors import InvalidInput, Refused
from registry.hosts import is_loopback
from registry.retry import retrying

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

JSON_MAX = 4 << 20
"""Bytes of a manifest or of another answer in JSON (OCI distribution specification 1.1, "Pushing manifests")."""
_SAID_MAX = 64 << 10
_REDIRECTS = 5
_REDIRECTING = (301, 302, 303, 307, 308)
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_RENEWALS = 2
_DRIPPING = 5
"""How many times its longest silence a small answer may take altogether."""


class Patience(NamedTuple):
    """How long to wait for a registry; all in seconds but `attempts`."""

    connect: float = 10.0
    stall: float = 60.0
    """Between two pieces of a request or of an answer."""
    commit: float = 900.0
    """For the answer to what may take it long: it hashes, or moves, all that was sent."""
    pause: float = 60.0
    """The longest that it may ask us to wait before the next attempt."""
    attempts: int = 5


class Ask(NamedTuple):
    """A request."""

    method: str
    url: str
    """A path below the registry's root, or what the registry called a location."""
    what: str
    """What it is about, for messages."""
    scopes: tuple[str, ...]
    accepts: frozenset[int] = frozenset({200})
    """The statuses that the caller knows what to do with; any other is an error."""
    headers: Mapping[str, str] = {}
    body: bytes | Iterator[bytes] = b""
    """An iterator is sent as it comes, and is used up by it."""
    slow: bool = False
    """Whether the answer may take as long as a commit."""


class Transport:
    """One registry. Safe for several threads at once; its connections are given back when it is no longer used.

    Raises:
        InvalidInput: the environment's proxies or certificates cannot be used.
    """

    def __init__(
        self,
        host: str,
        credentials: Credentials | None = None,
        *,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import httpx

        self.host, self.patience = host, patience or Patience()
        self._sleep, self._clock = sleep, clock
        self._own = is_loopback(bare(host))
        self._root = httpx.URL(root_of(host))
        try:
            self._client = httpx.Client(
                headers={"Accept-Encoding": "identity", "User-Agent": "sluice"},
                # none are kept: Harbor takes who sends one for a browser, and wants a CSRF token of it
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
                follow_redirects=False,
                trust_env=not self._own,  # proxies and certificates; what is on this machine needs none
            )
        except (ImportError, OSError, ValueError) as error:
            raise InvalidInput(
                "The proxy or certificate settings of the environment cannot be used: correct them."
            ) from error
        weakref.finalize(self, self._client.close)
        self._auth = Authorizer(host, credentials or Anonymous(), self._ask_for_token, clock)

    def ask(self, ask: Ask) -> Answer:
        """Send a request and read its small answer; again where the fault may pass. Not for bodies that are used up.

        Raises:
            NotFound: the registry has no such thing.
            Refused: it does not allow it, answers with more than 4 MiB, or sends where we do not go.
            Unavailable: it does not answer, or with a fault, until the attempts ran out.
        """
        return self.patiently(lambda: self.once(ask))

    def once(self, ask: Ask) -> Answer:
        """As `ask`, a single time.

        Raises:
            Fault: it may work the next time.
            As `ask`.
        """
        with self.translating(), closing(self.begin(ask)) as response:
            data = b"" if ask.method == "HEAD" else self._bounded(response, JSON_MAX)
            return Answer(response.status_code, response.headers, data, str(response.url))

    def patiently(self, function: Callable[[], T]) -> T:
        """Call `function`, again after a Fault, and not before the registry said."""
        asked = [0.0]

        def attempt() -> T:
            try:
                return function()
            except Fault as error:
                asked[0] = min(error.after, self.patience.pause)
                raise

        result: T = retrying(
            self.patience.attempts, when=Fault, sleep=lambda seconds: self._sleep(max(seconds, asked[0]))
        )(attempt)
        return result

    def begin(self, ask: Ask) -> httpx.Response:
        """The answer to a request, to be read as it comes, inside `translating`; the caller closes it.

        Raises:
            As `once`.
        """
        with self.translating():
            response = self._authorized(ask)
            if response.status_code in ask.accepts:
                return response
            with closing(response):
                raise self._error(ask, response)

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Raise httpx's errors as ours; without them as the cause, since they may hold an address that is a secret.

        Raises:
            Fault: the connection cannot be made, or broke.
            Refused: what answers speaks no HTTP that can be understood.
        """
        import httpx

        try:
            yield
        except httpx.TransportError as error:
            kind = type(error).__name__
        except (httpx.InvalidURL, httpx.DecodingError):
            raise Refused(f"{self.host} does not answer as a registry does: check the address.") from None
        else:
            return
        raise Fault(f"{self.host} cannot be reached, or broke off ({kind}): check the address and the network.")

    def _authorized(self, ask: Ask) -> httpx.Response:
        sent = self._auth.header(ask.scopes)
        response = self._redirected(ask, sent)
        for _ in range(_RENEWALS):
            if not denied(response, sent) or not _same_place(response.url, self._root):
                break  # what another host asks for is not what the registry asks for
            with closing(response):
                challenges = response.headers.get_list("WWW-Authenticate")
                renewed = self._auth.renewed(challenges, ask.scopes, sent)
                if renewed is None:
                    raise self._error(ask, response)
                if not isinstance(ask.body, bytes):
                    raise Fault(f"{self.host} took {ask.what} no further, as the login expired: try again.")
            sent = renewed
            response = self._redirected(ask, sent)
        return response

    def _redirected(self, ask: Ask, authorization: str | None) -> httpx.Response:
        url = self._target(self._root, ask.url)
        for _ in range(_REDIRECTS):
            response = self._sent(ask, url, authorization if _same_place(url, self._root) else None)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTING or location is None or ask.method not in ("GET", "HEAD"):
                return response
            response.close()
            url = self._target(url, location)
        raise Refused(f"{self.host} sends in circles for {ask.what}: check the registry.")

    def _sent(self, ask: Ask, url: httpx.URL, authorization: str | None) -> httpx.Response:
        import httpx

        patience = self.patience
        read = patience.commit if ask.slow else patience.stall
        timeout = httpx.Timeout(patience.stall, connect=patience.connect, read=read)
        headers = {**ask.headers, **({"Authorization": authorization} if authorization else {})}
        body = ask.body if ask.body or ask.method in ("POST", "PUT", "PATCH") else None
        request = self._client.build_request(ask.method, url, headers=headers, content=body, timeout=timeout)
        return self._client.send(request, stream=True)

    def _target(self, base: httpx.URL, location: str) -> httpx.URL:
        """Where a location is.

        Raises:
            Refused: we do not go there.
        """
        import httpx

        try:
            url = base.join(location)
        except (httpx.InvalidURL, ValueError):
            raise Refused(f"{self.host} sends to an address that is none: check the registry.") from None
        plain = url.scheme == "http" and base.scheme == "http" and is_loopback(url.host)
        if not url.host or url.userinfo or not (url.scheme == "https" or plain):
            raise Refused(
                f"{self.host} sends to an address in plain http, or with a password in it, where nothing may be sent:"
                " have the registry give https addresses."
            )
        return url

    def _ask_for_token(
        self, realm: str, params: list[tuple[str, str]], form: Mapping[str, str] | None, authorization: str | None
    ) -> bytes:
        import httpx

        try:
            url = self._target(self._root, realm).copy_merge_params(httpx.QueryParams([*params]))
        except httpx.InvalidURL:
            raise Refused(f"{self.host} names a token service that is none: check the registry.") from None
        headers = {"Authorization": authorization} if authorization else {}
        patience = self.patience
        request = self._client.build_request(
            "POST" if form else "GET",
            url,
            headers=headers,
            data=dict(form) if form else None,
            timeout=httpx.Timeout(patience.stall, connect=patience.connect),
        )
        with closing(self._client.send(request, stream=True)) as response:
            if response.status_code in _TRANSIENT:
                raise Fault(
                    f"The token service of {self.host} is overloaded or failing ({response.status_code}): try again in"
                    " a minute.",
                    fault_after(response.headers),
                )
            if response.status_code != 200:
                raise Refused(
                    f"The token service of {self.host} does not let us in ({response.status_code}): log in with"
                    f" `docker login {self.host}`."
                )
            return self._bounded(response, JSON_MAX)

    def _error(self, ask: Ask, response: httpx.Response) -> Exception:
        status = response.status_code
        if status in _TRANSIENT:
            return Fault(
                f"{self.host} is overloaded or failing ({status}): try again in a minute.",
                fault_after(response.headers),
            )
        said = Said("", "") if ask.method == "HEAD" else read_said(self._bounded(response, _SAID_MAX))
        return refusal(self.host, ask.what, status, said)

    def _bounded(self, response: httpx.Response, most: int) -> bytes:
        data, end = bytearray(), self._clock() + _DRIPPING * self.patience.stall
        for chunk in response.iter_raw():
            data += chunk
            if len(data) > most:
                raise Refused(f"{self.host} answers with more than {most >> 10} KiB: check the address.")
            if self._clock() > end:
                raise Fault(f"{self.host} answers too slowly: try again.")
        return bytes(data)


def _same_place(one: httpx.URL, other: httpx.URL) -> bool:
    ports = {"http": 80, "https": 443}
    return (one.scheme, one.host, one.port or ports.get(one.scheme)) == (
        other.scheme,
        other.host,
        other.port or ports.get(other.scheme),
    )
