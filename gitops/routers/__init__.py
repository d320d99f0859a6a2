"""Traffic routers: from a release's weights to the objects that split traffic by them."""

from __future__ import annotations

from collections.abc import Sequence

from gitops.config import AlbSettings, Environment, GatewaySettings, KserveSettings, RolloutsSettings
from gitops.layout import environment_file
from gitops.routers.alb import AlbRouter
from gitops.routers.base import Kind, Router
from gitops.routers.gateway import GatewayRouter
from gitops.routers.kserve import KserveRouter
from gitops.routers.rollouts import RolloutsRouter
from registry.errors import Refused

__all__ = ["ROUTERS", "Kind", "Router", "check_weight_allowed", "router_for"]

ROUTERS: Sequence[type[Router]] = (AlbRouter, GatewayRouter, RolloutsRouter, KserveRouter)
"""All there are: what any environment may come to render, and what Argo CD has to leave alone."""


def router_for(environment: Environment) -> Router:
    """The router that the environment's `router.kind` names."""
    match environment.router:
        case AlbSettings() as settings:
            return AlbRouter(settings, environment)
        case GatewaySettings() as settings:
            return GatewayRouter(settings, environment)
        case RolloutsSettings() as settings:
            return RolloutsRouter(settings, environment)
        case KserveSettings():
            return KserveRouter()


def check_weight_allowed(environment: Environment, weight: int) -> None:
    """Make sure that a promotion may say which share of the environment's traffic a version takes.

    Raises:
        Refused: a controller sets the weights there, and `weight` is not the 100 that it works towards.
    """
    if router_for(environment).OWNS_WEIGHT and weight != 100:
        raise Refused(
            f"{environment.name} leaves the weights to Argo Rollouts, which goes by router.steps in"
            f" {environment_file(environment.name)}: promote with --weight 100, and it begins with the first step."
        )
