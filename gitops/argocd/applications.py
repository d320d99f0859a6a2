"""How Argo CD is asked: one small protocol, whichever way it is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gitops.argocd.application import Application, Pod
from gitops.config import Environment

PROJECT = "sluice"
"""The AppProject and the ApplicationSet that `sluice init` writes."""
NAMESPACE = "argocd"
"""Where Argo CD keeps its Applications, unless somebody changed that."""


class Applications(Protocol):
    """Argo CD's Applications. Every method raises `Refused` without access, and `Unavailable` where nobody answers."""

    def read(self, name: str) -> Application | None:
        """One Application, or None where there is none of this name."""

    def pods(self, application: Application, labels: Mapping[str, str]) -> Sequence[Pod] | None:
        """Its pods, with at least those that carry all of `labels`; None where they cannot be seen from here."""

    def overview(self) -> Mapping[str, Application]:
        """Every Application of the project by name, in one request; what takes long to send may be left out."""

    def every(self) -> Mapping[str, Application]:
        """Every Application of the project by name, in one request, and whole."""

    def refresh(self, name: str) -> None:
        """Ask that an Application be compared with the newest commit now; nothing where there is no such one."""

    def close(self) -> None:
        """Give connections back."""


def application_names(model: str, environment: Environment) -> Mapping[str, str]:
    """The name of a cluster to that of the Application for a model there, as the ApplicationSet calls it.

    The only cluster of an environment has no name.
    """
    base = f"{model}-{environment.name}"
    return {place.name: f"{base}-{place.name}" if place.name else base for place in environment.all_clusters}
