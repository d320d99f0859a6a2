"""Argo CD's HTTP API, by a token (argo-cd, docs/developer-guide/api-docs.md; server/application/application.proto).

The token goes to the one address that was given, and never after a redirect. Each request names the project: without
it, Argo CD answers 403 for an Application that does not exist, so as not to tell who may see which.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from gitops.argocd.application import Application, Pod, brief
from gitops.argocd.applications import NAMESPACE, PROJECT
from registry.errors import InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.retry import retrying

if TYPE_CHECKING:
    import httpx

_API = "/api/v1/applications"
_ANSWER_MAX = 256 << 20
"""Bytes of one answer: 10,000 whole Applications of 15 KB are far below."""
_REFRESH_SECONDS = 3.0
"""How long to wait for Argo CD to have looked: it was asked as soon as it has the request."""
_TRANSIENT = (429, 500, 502, 503, 504)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OVERVIEW = ",".join(
    f"items.{field}"
    for field in (
        "metadata.name",
        "operation.sync",
        "status.sync.status",
        "status.health",
        "status.summary",
        "status.operationState.phase",
        "status.operationState.startedAt",
        "status.operationState.finishedAt",
        "status.operationState.operation.sync",
    )
)
"""Of an Application in a list, all that is of use here and that can be asked for alone (forwarder_overwrite.go)."""


class ArgoApi:
    """One Argo CD server.

    Raises:
        InvalidInput: the address, the token or the certificates cannot be used.
    """

    def __init__(
        self, url: str, token: str, *, project: str = PROJECT, namespace: str = NAMESPACE, ca: Path | None = None
    ) -> None:
        import httpx

        self.url = _check_url(url)
        self._about = {"project": project}
        if namespace != NAMESPACE:  # left out, the server takes its own, which may be called anything
            self._about["appNamespace"] = namespace
        try:
            self._client = httpx.Client(
                headers={"Authorization": f"Bearer {_check_token(token)}"},
                timeout=httpx.Timeout(30, connect=10),
                follow_redirects=False,
                verify=ssl.create_default_context(cafile=ca) if ca else True,
            )
        except (ImportError, OSError, ValueError) as error:  # of HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE
            raise InvalidInput(
                f"The proxy or certificate settings for Argo CD cannot be used ({brief(str(error))}): correct them."
            ) from error

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def read(self, name: str) -> Application | None:
        """One Application, or None where there is none of this name in the project.

        Raises:
            Refused: the token does not allow it.
            Unavailable: it did not answer, or with a fault, until the attempts ran out.
        """
        try:
            return Application.of(self._get(f"{_API}/{quote(name, safe='')}", self._about))
        except NotFound:
            return None

    def pods(self, application: Application, labels: Mapping[str, str]) -> Sequence[Pod] | None:
        """All of its pods, in whichever cluster, from its resource tree.

        Raises:
            As `read`.
        """
        del labels  # the tree holds no other pods than its own
        try:
            tree = self._get(f"{_API}/{quote(application.name, safe='')}/resource-tree", self._about)
        except NotFound:
            return None
        nodes = tree.get("nodes") or ()
        return tuple(pod for node in nodes if (pod := Pod.of_node(node)) is not None)

    def overview(self) -> Mapping[str, Application]:
        """Every Application of the project, without what cannot be asked for alone.

        Raises:
            As `read`.
        """
        return self._list({"fields": _OVERVIEW}, whole=False)

    def every(self) -> Mapping[str, Application]:
        """Every Application of the project, whole.

        Raises:
            As `read`.
        """
        return self._list({}, whole=True)

    def refresh(self, name: str) -> None:
        """Ask that an Application be compared with the newest commit now, and wait a little for that.

        Raises:
            As `read`.
        """
        import httpx

        try:
            self._once(f"{_API}/{quote(name, safe='')}", {**self._about, "refresh": "normal"}, _REFRESH_SECONDS)
        except (httpx.ReadTimeout, NotFound):
            return  # it was asked, and looks; or there is nothing to look at yet
        except httpx.TransportError as error:
            raise self._unreached(error) from error

    def _list(self, more: Mapping[str, str], *, whole: bool) -> Mapping[str, Application]:
        about = {("projects" if name == "project" else name): value for name, value in self._about.items()}
        items = self._get(_API, {**about, **more}).get("items") or ()
        found = (Application.of(item, whole=whole) for item in items)
        return {application.name: application for application in found}

    def _get(self, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        def once() -> Mapping[str, Any]:
            return self._once(path, params, None)

        found: Mapping[str, Any] = retrying()(self._translating(once))
        return found

    def _once(self, path: str, params: Mapping[str, str], seconds: float | None) -> Mapping[str, Any]:
        import httpx

        timeout = httpx.Timeout(seconds, connect=10) if seconds else httpx.USE_CLIENT_DEFAULT
        request = self._client.build_request("GET", self.url + path, params=dict(params), timeout=timeout)
        with closing(self._client.send(request, stream=True)) as response:
            data = self._bounded(response)
            if not response.is_success:
                raise self._error(response.status_code, data)
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._no_argo_cd()
        return found

    def _bounded(self, response: httpx.Response) -> bytes:
        data = bytearray()
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) > _ANSWER_MAX:
                raise Refused(f"Argo CD at {self.url} answers with more than 256 MiB: check the address.")
        return bytes(data)

    def _error(self, status: int, data: bytes) -> SluiceError:
        if status in _TRANSIENT:
            return Unavailable(f"Argo CD at {self.url} is overloaded or failing ({status}): try again in a minute.")
        if status == 401:
            return Refused(
                f"Argo CD at {self.url} does not take the token: set ARGOCD_AUTH_TOKEN to one that is valid"
                " (`argocd account generate-token`)."
            )
        if status == 403:
            return Refused(
                f"Argo CD at {self.url} does not allow this to the token: give its account `applications, get` on the"
                f" project {self._about['project']}, or correct `argocd.project`."
            )
        if status == 404:
            return NotFound(f"Argo CD at {self.url} has no such thing: check `argocd.url`.")
        if 300 <= status < 400:
            return Refused(f"Argo CD at {self.url} sends to another address ({status}): give that address itself.")
        return InvalidInput(f"Argo CD at {self.url} refuses the request ({_said(data) or status}): check its version.")

    def _no_argo_cd(self) -> InvalidInput:
        return InvalidInput(f"{self.url} does not answer as Argo CD does: check `argocd.url`.")

    def _unreached(self, error: Exception) -> Unavailable:
        said = brief(str(error)) or type(error).__name__
        return Unavailable(
            f"Argo CD at {self.url} cannot be reached ({said}): check `argocd.url`, `argocd.ca` and the network."
        )

    def _translating(self, function: Callable[[], Mapping[str, Any]]) -> Callable[[], Mapping[str, Any]]:
        def translated() -> Mapping[str, Any]:
            import httpx

            try:
                return function()
            except httpx.TransportError as error:
                raise self._unreached(error) from error
            except (httpx.InvalidURL, httpx.DecodingError) as error:
                raise self._no_argo_cd() from error

        return translated


def _said(data: bytes) -> str:
    """The message of an error, as the gateway in front of gRPC writes it."""
    try:
        found = json.loads(data)
    except ValueError:
        return ""
    message = found.get("message") if isinstance(found, dict) else None
    return brief(message) if isinstance(message, str) else ""


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    fits = host and parts.scheme in ("http", "https") and not parts.query and not parts.fragment
    if not fits or "@" in parts.netloc or not url.isprintable() or " " in url:
        raise InvalidInput("`argocd.url` is no address of Argo CD: write it as https://host, without a user or token.")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise InvalidInput("`argocd.url` would send the token in the clear: write it as https://host.")
    return url.rstrip("/")


def _check_token(token: str) -> str:
    if not token:
        raise InvalidInput(
            "There is no token for Argo CD: set ARGOCD_AUTH_TOKEN to one (`argocd account generate-token`)."
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidInput("ARGOCD_AUTH_TOKEN holds a line feed or another letter no header may have: set it again.")
    return token
