"""Traffic split by an Application Load Balancer: one rule that forwards to two weighted target groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from gitops.config import AlbSettings, Environment
from gitops.manifests import Manifest, Role, Wave, metadata, object_name, selector
from gitops.release import Release
from gitops.routers.base import INGRESS, SERVICE, Kind, hosts, service, weights
from gitops.routers.ingress import PREFIX, forward, ingress, target_group

_ACTION = "weights"


class AlbRouter:
    """Two Services, and an Ingress whose weights are in git.

    The rule always names both target groups, the canary's with weight 0 while there is none. A target group that
    no rule names does not exist, and one that is named with a weight at once takes requests before its first
    target is registered: these would be answered with 503. Named all along, the controller's readiness gate can
    hold a canary's pods until the load balancer finds them healthy, and only then does the weight change.
    """

    KINDS: ClassVar[Sequence[Kind]] = (SERVICE, INGRESS)
    OWNS_WEIGHT: ClassVar[bool] = False
    IGNORED: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def __init__(self, settings: AlbSettings, environment: Environment) -> None:
        self._settings = settings
        self._environment = environment

    def objects(self, release: Release, workload: Sequence[Manifest]) -> Sequence[Manifest]:
        """The workload as it is, both Services, always, and the Ingress."""
        return [*workload, *(_service(release, role) for role in Role), self._ingress(release)]

    def _ingress(self, release: Release) -> Manifest:
        split = {object_name(release.model, role): weight for role, weight in weights(release).items()}
        action = {f"{PREFIX}/actions.{_ACTION}": forward(self._settings, split)}
        found = hosts(release, self._environment)
        return ingress(release, self._settings, found, Wave.RULES, _ACTION, action)


def _service(release: Release, role: Role) -> Manifest:
    annotations = target_group(release, role)
    return service(metadata(release, Wave.ADDRESSES, role, annotations=annotations), selector(release.model, role))
