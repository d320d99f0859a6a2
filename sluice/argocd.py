"""The settings of Argo CD: where it is asked what the clusters run.

In `sluice.toml`, one of the two ways:

```toml
[argocd]
url = "https://argocd.example.com"  # its HTTP API; the token is in ARGOCD_AUTH_TOKEN, and never in a file
ca = "certs/argocd.pem"             # who signed its certificate, where that is nobody known
project = "sluice"                  # the AppProject of `sluice init`
```

```toml
[argocd]
kube = true                         # its resources themselves: by kubeconfig, in a pod by its service account
kubeconfig = "~/.kube/config"       # left out: the pod's own, else KUBECONFIG, else this one
context = "ops"                     # left out: the current one
namespace = "argocd"
```

The token needs `applications, get` on the project: `p, role:sluice, applications, get, sluice/*, allow`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from registry.errors import InvalidInput

if TYPE_CHECKING:
    from gitops.argocd.applications import Applications

_TOKEN = "ARGOCD_AUTH_TOKEN"  # noqa: S105  # the name of a variable, which Argo CD's own command line reads as well


class ArgoCd(BaseModel):
    """Where Argo CD is asked; nowhere where neither `url` nor `kube` is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = ""
    token: SecretStr = SecretStr("")
    """From SLUICE_ARGOCD__TOKEN; where it is empty, from ARGOCD_AUTH_TOKEN."""
    ca: Path | None = None
    kube: bool = False
    kubeconfig: Path | None = None
    context: str = ""
    namespace: str = Field(default="argocd", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    project: str = Field(default="sluice", pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.url and self.kube:
            raise ValueError("url and kube are two ways to the same thing, keep one of them")
        if (self.kubeconfig or self.context) and not self.kube:
            raise ValueError("a kubeconfig is read where kube is true, set that")
        return self

    def open(self) -> Applications | None:
        """Argo CD's Applications, or None where no way to them is set.

        Raises:
            InvalidInput: the address, the token, the certificates or the kubeconfig cannot be used.
        """
        if self.kube:
            from gitops.argocd.kube import KubeApplications

            kubeconfig = self.kubeconfig.expanduser() if self.kubeconfig else None
            return KubeApplications(kubeconfig, self.context, project=self.project, namespace=self.namespace)
        if not self.url:
            return None
        from gitops.argocd.api import ArgoApi

        token = self.token.get_secret_value() or os.environ.get(_TOKEN, "")
        return ArgoApi(self.url, token, project=self.project, namespace=self.namespace, ca=self.ca)


def of_file(said: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a settings file in `folder` says of Argo CD, with paths that do not depend on where the command runs.

    Raises:
        InvalidInput: there is a token in it.
    """
    if "token" in said:
        raise InvalidInput(f"A token for Argo CD does not belong in a file: take it out, and set {_TOKEN} instead.")
    paths = {name: said[name] for name in ("ca", "kubeconfig") if isinstance(said.get(name), str) and said[name]}
    return {**said, **{name: folder / Path(value).expanduser() for name, value in paths.items()}}
