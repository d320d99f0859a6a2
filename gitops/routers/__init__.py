"""Traffic routers: from a release's weights to the objects that split traffic by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gitops.config import Environment
from gitops.manifests import Manifest
from gitops.release import Release
from gitops.routers.alb import AlbRouter

__all__ = ["Router", "router_for"]


class Router(Protocol):
    """One way of splitting traffic between stable and canary.

    It renders both Services whatever the release: whichever order a controller applies a commit in, a Service is
    there before a rule names it, and still is after no rule does.
    """

    def objects(self, release: Release, environment: Environment) -> Sequence[Manifest]:
        """The Services, and the rules that name them."""


def router_for(environment: Environment) -> Router:
    """The router that the environment's `router.kind` names."""
    routers: dict[str, Router] = {"alb": AlbRouter()}
    return routers[environment.router.kind]
