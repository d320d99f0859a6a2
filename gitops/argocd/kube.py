"""Argo CD's Applications as the Kubernetes resources that they are, by kubeconfig or a pod's service account.

Reading them needs the verbs get and list on `applications.argoproj.io`, a refresh patch, and telling which images run
list on the pods of the models' namespaces. Pods are looked at where Argo CD deploys to its own cluster; of others it
is known which images there are by what the Application's summary says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gitops.argocd.application import Application, Pod, brief
from gitops.argocd.applications import NAMESPACE, PROJECT
from registry.errors import InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.retry import retrying

if TYPE_CHECKING:
    from lightkube import Client

R = TypeVar("R")

_API = ("argoproj.io", "v1alpha1")
_REFRESH = "argocd.argoproj.io/refresh"
_REFRESH_SET = "argocd.argoproj.io/application-set-refresh"
_PAGE = 500
_MISSHAPED = (KeyError, TypeError, ValueError, AttributeError, AssertionError)
"""What lightkube raises of a kubeconfig that has not what it looks for."""
_TRANSIENT = (429, 500, 502, 503, 504)


class KubeApplications:
    """The Applications of one namespace of the cluster that a kubeconfig leads to.

    Raises:
        InvalidInput: the kubeconfig cannot be used, or what reads it is not installed.
    """

    def __init__(
        self,
        kubeconfig: Path | None = None,
        context: str = "",
        *,
        project: str = PROJECT,
        namespace: str = NAMESPACE,
    ) -> None:
        self._project, self._namespace = project, namespace
        self._client = _open(kubeconfig, context)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def read(self, name: str) -> Application | None:
        """One Application, or None where there is none of this name in the project.

        Raises:
            Refused: no access.
            Unavailable: the cluster is not reached, or answers with a fault, until the attempts ran out.
        """
        try:
            raw = self._asking(lambda: self._client.get(_resource("Application"), name, namespace=self._namespace))
        except NotFound:
            return None
        return Application.of(raw) if self._ours(raw) else None

    def pods(self, application: Application, labels: Mapping[str, str]) -> Sequence[Pod] | None:
        """The pods with these labels where it runs; None where that is another cluster.

        Raises:
            As `read`.
        """
        from lightkube.resources.core_v1 import Pod as Core

        if not application.destination.in_cluster:
            return None
        place = application.destination.namespace

        def ask() -> Sequence[Pod]:
            found = self._client.list(Core, namespace=place, labels={**labels}, chunk_size=_PAGE)
            return tuple(Pod.of_pod(pod.to_dict()) for pod in found)

        return self._asking(ask)

    def overview(self) -> Mapping[str, Application]:
        """Every Application of the project; the API of Kubernetes gives none in parts.

        Raises:
            As `read`.
        """
        return self.every()

    def every(self) -> Mapping[str, Application]:
        """Every Application of the project.

        Raises:
            As `read`.
        """

        def ask() -> Mapping[str, Application]:
            found = self._client.list(_resource("Application"), namespace=self._namespace, chunk_size=_PAGE)
            ours = (Application.of(raw) for raw in found if self._ours(raw))
            return {application.name: application for application in ours}

        return self._asking(ask)

    def refresh(self, name: str) -> None:
        """Ask that an Application be compared with the newest commit now; where there is none, that it be made.

        Raises:
            As `read`.
        """
        try:
            self._annotate("Application", name, {_REFRESH: "normal"})
        except NotFound:
            try:
                self._annotate("ApplicationSet", self._project, {_REFRESH_SET: "true"})
            except (NotFound, Refused):
                return  # it is made in its own time

    def _annotate(self, kind: str, name: str, annotations: Mapping[str, str]) -> None:
        from lightkube.types import PatchType

        patch = {"metadata": {"annotations": dict(annotations)}}
        merge = PatchType.MERGE
        self._asking(
            lambda: self._client.patch(_resource(kind), name, patch, namespace=self._namespace, patch_type=merge)
        )

    def _ours(self, raw: Mapping[str, Any]) -> bool:
        spec = raw.get("spec")
        return isinstance(spec, Mapping) and spec.get("project") == self._project

    def _asking(self, function: Callable[[], R]) -> R:
        def once() -> R:
            import httpx2
            import msgspec
            from lightkube import ConfigError

            try:
                return function()
            except httpx2.HTTPStatusError as error:
                raise self._error(error.response.status_code, str(error)) from error
            except httpx2.TransportError as error:
                raise Unavailable(
                    f"The cluster of Argo CD cannot be reached ({type(error).__name__}): check the kubeconfig and the"
                    " network."
                ) from error
            except (ConfigError, OSError) as error:  # of what the kubeconfig runs to get a token
                raise Refused(f"The kubeconfig gives no access ({brief(str(error))}): log in again.") from error
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                raise InvalidInput("The kubeconfig leads to no Kubernetes API: correct it.") from error

        found: R = retrying()(once)
        return found

    def _error(self, status: int, said: str) -> SluiceError:
        if status in _TRANSIENT:
            return Unavailable(f"The cluster of Argo CD is overloaded or failing ({status}): try again in a minute.")
        if status in (401, 403):
            return Refused(
                f"The cluster of Argo CD denies this ({status}, {brief(said)}): log in again, or have applications in"
                f" namespace {self._namespace} and the models' pods opened to you."
            )
        if status == 404:
            return NotFound(f"There is no such thing in namespace {self._namespace}: correct `argocd.namespace`.")
        return InvalidInput(f"The cluster of Argo CD refuses the request ({status}, {brief(said)}): check its version.")


def _resource(kind: str) -> Any:
    from lightkube.generic_resource import create_namespaced_resource

    return create_namespaced_resource(*_API, kind, f"{kind.lower()}s")


def _open(kubeconfig: Path | None, context: str) -> Client:
    import yaml

    try:
        import msgspec
        from lightkube import Client, ConfigError, KubeConfig
    except ImportError:
        raise InvalidInput(
            "Reading Argo CD by kubeconfig needs lightkube: install the extra, `pip install sluicegate[kube]`."
        ) from None
    try:
        config = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
        return Client(config=config.get(context or None))
    except (ConfigError, OSError, yaml.YAMLError, msgspec.MsgspecError, *_MISSHAPED) as error:
        said = brief(str(error)) or type(error).__name__
        raise InvalidInput(f"The kubeconfig cannot be used ({said}): correct `argocd.kubeconfig`.") from error
