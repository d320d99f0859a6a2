"""Asking an MLflow server: its REST API 2.0 and its artifact proxy (MLflow documentation, "REST API").

Credentials come from MLflow's own environment variables, go to the one host that was given, and never after a redirect.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.retry import retrying

if TYPE_CHECKING:
    import httpx

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")

API = "/api/2.0/mlflow/"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
JSON_MAX = 32 << 20
"""Bytes of one answer: a page of a hundred models with every tag at its longest is far below."""
_TRANSIENT = (429, 500, 502, 503, 504)
_RESUMES = 5
_DOWNLOAD = 900.0
"""Seconds to wait for a file: before it sends one from S3, MLflow's proxy has fetched all of it."""


class Wire(BaseModel):
    """An answer, of which only what is named is read."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Pair(Wire):
    """A tag or a parameter."""

    key: str
    value: str = ""


class Metric(Wire):
    """One value of a metric."""

    key: str
    value: float
    timestamp: int = 0
    step: int = 0


Milliseconds = Annotated[int, Field(ge=0, le=253_402_300_799_999)]


class _Said(Wire):
    error_code: str = ""
    message: str = ""


class _BrokeOff(Unavailable):
    """A download ended early, which the next request goes on from."""


class Rest:
    """One MLflow server.

    `own`: it is ours, on this machine, and is asked without credentials or proxies.

    Raises:
        InvalidInput: the address is no http(s) address, or holds credentials; or what the environment says of proxies,
            certificates or credentials cannot be used.
    """

    def __init__(self, url: str, *, own: bool = False) -> None:
        import httpx

        self.url = _check_url(url)
        environment = {} if own else os.environ
        try:
            self._client = httpx.Client(
                headers={"Accept-Encoding": "identity", **_headers(environment)},
                auth=_basic(environment),
                timeout=httpx.Timeout(60, connect=10),
                follow_redirects=False,
                trust_env=not own,
                verify=_verify(environment),
            )
        except (ImportError, OSError, ValueError) as error:  # of HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE
            raise InvalidInput(
                f"The proxy or certificate settings of the environment cannot be used ({_printable(str(error))}):"
                " correct them."
            ) from error

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def get(self, path: str, answer: type[T], params: Mapping[str, str | int] | None = None) -> T:
        """Ask `path` and read what comes as an `answer`.

        Raises:
            NotFound: the server knows that it has no such thing.
            Refused: the credentials do not allow it, or the server sends elsewhere, or more than 32 MiB.
            InvalidInput: the server does not understand the question, or is no MLflow server.
            Unavailable: it did not answer, or with a fault, until the attempts ran out.
        """

        def once() -> bytes:
            with closing(self._open(path, params or {})) as response:
                return self._bounded(response)

        data: bytes = retrying()(self._translating(once))
        try:
            return answer.model_validate_json(data)
        except ValidationError as error:
            raise self._no_mlflow() from error

    def size(self, path: str) -> int | None:
        """The bytes of the artifact at `path`, or None where there is none or the server does not say.

        Raises:
            As `get`.
        """

        def once() -> int | None:
            with closing(self._open(f"{PROXY}/{quote(path)}", {})) as response:
                said = response.headers.get("Content-Length", "")
                return int(said) if said.isascii() and said.isdigit() else None

        try:
            found: int | None = retrying()(self._translating(once))
        except (NotFound, InvalidInput):
            return None
        return found

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        """The `size` bytes of the artifact at `path`; goes on where it was after a dropped connection.

        Raises:
            Conflict: it has more or fewer bytes.
            As `get`.
        """
        position, resumes = 0, 0
        while position < size:
            before = position
            try:
                for chunk in self._from(path, position, size):
                    position += len(chunk)
                    yield chunk
            except _BrokeOff:
                resumes = resumes + 1 if position == before else 1
                if resumes > _RESUMES:
                    raise

    def _from(self, path: str, start: int, size: int) -> Iterator[bytes]:
        import httpx

        headers = {"Range": f"bytes={start}-"} if start else {}

        def once() -> httpx.Response:
            return self._open(f"{PROXY}/{quote(path)}", {}, headers)

        response: httpx.Response = retrying()(self._translating(once))
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        skip, position = (0, start) if response.status_code == 206 and resumed else (start, 0)
        with closing(response):
            try:
                for data in response.iter_raw():  # as it comes: what a chunk gathers is lost when the connection is
                    position += len(data)
                    if position > size:
                        break
                    if len(data) > skip:
                        yield data[skip:]
                    skip = max(0, skip - len(data))
            except httpx.TransportError as error:
                raise _BrokeOff(f"MLflow at {self.url} broke off while {path!r} was read: try again.") from error
        if position != size:
            raise Conflict(f"The artifact {path!r} in MLflow was replaced while it was read: start again.")

    def _open(
        self, path: str, params: Mapping[str, str | int], headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        import httpx

        timeout = httpx.Timeout(_DOWNLOAD, connect=10) if path.startswith(PROXY + "/") else httpx.USE_CLIENT_DEFAULT
        request = self._client.build_request(
            "GET", self.url + path, params=dict(params) or None, headers=dict(headers or {}), timeout=timeout
        )
        response = self._client.send(request, stream=True)
        if response.is_success:
            return response
        with closing(response):
            raise self._error(response.status_code, response)

    def _error(self, status: int, response: httpx.Response) -> SluiceError:
        if status in _TRANSIENT:
            return Unavailable(f"MLflow at {self.url} is overloaded or failing ({status}): try again in a minute.")
        if status in (401, 403):
            return Refused(
                f"MLflow at {self.url} denies this ({status}): set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME"
                " and MLFLOW_TRACKING_PASSWORD, to credentials that may read the registry."
            )
        if 300 <= status < 400:
            return Refused(f"MLflow at {self.url} sends to another address ({status}): give that address itself.")
        try:
            said = _Said.model_validate_json(self._bounded(response))
        except ValidationError:
            return self._no_mlflow()
        message = _printable(said.message) or str(status)
        if said.error_code == "RESOURCE_DOES_NOT_EXIST":
            return NotFound(f"MLflow at {self.url} has no such thing ({message}): correct the name.")
        return InvalidInput(f"MLflow at {self.url} refuses the request ({message}): check its version and settings.")

    def _bounded(self, response: httpx.Response) -> bytes:
        data = bytearray()
        for chunk in response.iter_raw():
            data += chunk
            if len(data) > JSON_MAX:
                raise Refused(f"MLflow at {self.url} answers with more than {JSON_MAX >> 20} MiB: check the address.")
        return bytes(data)

    def _no_mlflow(self) -> InvalidInput:
        return InvalidInput(f"{self.url} does not answer as an MLflow server does: check the address.")

    def _translating(self, function: Callable[[], R]) -> Callable[[], R]:
        def translated() -> R:
            import httpx

            try:
                return function()
            except httpx.TransportError as error:
                raise Unavailable(
                    f"MLflow at {self.url} cannot be reached ({type(error).__name__}): check the address and the"
                    " network."
                ) from error
            except (httpx.InvalidURL, httpx.DecodingError) as error:
                raise self._no_mlflow() from error

        return translated


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or not _visible(url):
        raise InvalidInput(f"{_without_user(url)!r} is no address of an MLflow server: write it as https://host.")
    if "@" in parts.netloc:
        raise InvalidInput(
            "An MLflow address may not hold a user or a password: set MLFLOW_TRACKING_USERNAME and"
            " MLFLOW_TRACKING_PASSWORD instead."
        )
    return url.rstrip("/")


def _without_user(url: str) -> str:
    return re.sub(r"//[^/]*@", "//", url)[:200]


def _visible(text: str) -> bool:
    return text.isprintable() and " " not in text


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:300]).strip().rstrip(".")


def _basic(environment: Mapping[str, str]) -> tuple[str, str] | None:
    user, password = environment.get("MLFLOW_TRACKING_USERNAME"), environment.get("MLFLOW_TRACKING_PASSWORD")
    return (user, password) if user and password else None


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    token, workspace = environment.get("MLFLOW_TRACKING_TOKEN"), environment.get("MLFLOW_WORKSPACE")
    headers = {"Authorization": f"Bearer {token}"} if token and not _basic(environment) else {}
    if workspace:
        headers["X-MLFLOW-WORKSPACE"] = workspace
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            variable = "MLFLOW_TRACKING_TOKEN" if name == "Authorization" else "MLFLOW_WORKSPACE"
            raise InvalidInput(f"{variable} holds a line feed or another letter no header may have: set it again.")
    return headers


def _verify(environment: Mapping[str, str]) -> ssl.SSLContext | bool:
    path = environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    if not path:
        return True
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise InvalidInput(
            f"MLFLOW_TRACKING_SERVER_CERT_PATH names {path}, which is no readable certificate: correct it."
        ) from error
