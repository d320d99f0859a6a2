"""Traffic split by a route of the Gateway API, which any Gateway can be behind; target groups as AWS makes them.

The route is gateway.networking.k8s.io/v1 HTTPRoute. What an Ingress says in annotations of its Services is said here
in a TargetGroupConfiguration, and stickiness in a ListenerRuleConfiguration, both gateway.k8s.aws/v1beta1 as of
version 2.14 of the AWS Load Balancer Controller (guide/gateway/targetgroupconfig, guide/gateway/customization).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from gitops.config import Environment, GatewaySettings, Stickiness
from gitops.layout import environment_file
from gitops.manifests import HTTP_PORT, Manifest, Role, Wave, metadata, object_name, selector
from gitops.release import Release
from gitops.routers.base import (
    HEALTH_INTERVAL_SECONDS,
    HEALTHY_AFTER,
    HEALTHY_CODES,
    SERVICE,
    Kind,
    asked_path,
    hosts,
    service,
    weights,
)
from gitops.runtimes import DEREGISTRATION_SECONDS
from registry.errors import InvalidInput

_API = "gateway.networking.k8s.io"
_AWS = "gateway.k8s.aws"
_MOST_HOSTS = 16  # HTTPRouteSpec, `hostnames`


class GatewayRouter:
    """Two Services with their target groups, and a route whose weights are in git.

    The route always names both. A backend with weight 0 gets no traffic, one that does not exist gets its share of
    it and answers 500 (HTTPRouteRule, `backendRefs`): so the Services are there before the route, and outlive it.

    Groups and kinds are written out though they are the defaults: the API server puts these into the lists of a
    route, where Argo CD would take them for a difference at every look (argo-cd, issue 22151).
    """

    KINDS: ClassVar[Sequence[Kind]] = (
        SERVICE,
        Kind(_API, "HTTPRoute"),
        Kind(_AWS, "TargetGroupConfiguration"),
        Kind(_AWS, "ListenerRuleConfiguration"),
    )
    OWNS_WEIGHT: ClassVar[bool] = False
    IGNORED: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def __init__(self, settings: GatewaySettings, environment: Environment) -> None:
        self._settings = settings
        self._environment = environment

    def objects(self, release: Release, workload: Sequence[Manifest]) -> Sequence[Manifest]:
        """The workload as it is, both Services and their target groups, always, and the route.

        Raises:
            InvalidInput: the environment's clusters have more domains than a route can have hosts.
        """
        found = [*workload]
        for role in Role:
            found += [
                service(metadata(release, Wave.ADDRESSES, role), selector(release.model, role)),
                _target_group(release, role),
            ]
        if self._settings.stickiness:
            found.append(_stickiness(release, self._settings.stickiness))
        return [*found, self._route(release)]

    def _route(self, release: Release) -> Manifest:
        gateway = self._settings.gateway
        served = hosts(release, self._environment)
        if len(served) > _MOST_HOSTS:
            raise InvalidInput(
                f"{environment_file(release.environment)}: a route has {_MOST_HOSTS} hosts at most and the clusters"
                f" have {len(served)} domains, put some of the clusters into an environment of their own."
            )
        parent = {
            "group": _API,
            "kind": "Gateway",
            "name": gateway.name,
            "namespace": gateway.namespace,
            "sectionName": gateway.section_name,
        }
        rule: dict[str, Any] = {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}
        # only beside a canary: see `gitops.routers.ingress.forward`
        if self._settings.stickiness and release.canary:
            named = {"group": _AWS, "kind": "ListenerRuleConfiguration", "name": release.model}
            rule["filters"] = [{"type": "ExtensionRef", "extensionRef": named}]
        rule["backendRefs"] = [
            {
                "group": "",
                "kind": "Service",
                "name": object_name(release.model, role),
                "port": HTTP_PORT,
                "weight": weight,
            }
            for role, weight in weights(release).items()
        ]
        return {
            "apiVersion": f"{_API}/v1",
            "kind": "HTTPRoute",
            "metadata": metadata(release, Wave.RULES),
            "spec": {
                "parentRefs": [{key: value for key, value in parent.items() if value}],
                "hostnames": list(served),
                "rules": [rule],
            },
        }


def _target_group(release: Release, role: Role) -> Manifest:
    delay = {"key": "deregistration_delay.timeout_seconds", "value": str(DEREGISTRATION_SECONDS)}
    return {
        "apiVersion": f"{_AWS}/v1beta1",
        "kind": "TargetGroupConfiguration",
        "metadata": metadata(release, Wave.ADDRESSES, role),
        "spec": {
            "targetReference": {"name": object_name(release.model, role)},
            "defaultConfiguration": {
                "targetType": "ip",
                "healthCheckConfig": {
                    "healthCheckPath": asked_path(release, role),
                    "healthCheckInterval": HEALTH_INTERVAL_SECONDS,
                    "healthyThresholdCount": HEALTHY_AFTER,
                    "matcher": {"httpCode": HEALTHY_CODES},
                },
                "targetGroupAttributes": [delay],
            },
        },
    }


def _stickiness(release: Release, stickiness: Stickiness) -> Manifest:
    config = {"enabled": True, "durationSeconds": stickiness.duration_seconds}
    return {
        "apiVersion": f"{_AWS}/v1beta1",
        "kind": "ListenerRuleConfiguration",
        "metadata": metadata(release, Wave.ADDRESSES),
        "spec": {"actions": [{"type": "forward", "forwardConfig": {"targetGroupStickinessConfig": config}}]},
    }
