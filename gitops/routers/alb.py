"""Traffic split by an Application Load Balancer: one rule that forwards to two weighted target groups.

The annotations are those of the AWS Load Balancer Controller (guide/ingress/annotations).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from gitops.config import AlbSettings, Environment
from gitops.manifests import HTTP_PORT, Manifest, Role, Wave, deployed_as, metadata, object_name, selector
from gitops.release import Release
from gitops.runtimes import DEREGISTRATION_SECONDS, health_path

_PREFIX = "alb.ingress.kubernetes.io"
_ACTION = "weights"


class AlbRouter:
    """Two Services, and an Ingress whose weights are in git.

    The rule always names both target groups, the canary's with weight 0 while there is none. A target group that
    no rule names does not exist, and one that is named with a weight at once takes requests before its first
    target is registered: these would be answered with 503. Named all along, the controller's readiness gate can
    hold a canary's pods until the load balancer finds them healthy, and only then does the weight change.
    """

    def objects(self, release: Release, environment: Environment) -> Sequence[Manifest]:
        """Both Services, always, and the Ingress."""
        return [*(_service(release, role) for role in Role), _ingress(release, environment)]


def weights(release: Release) -> dict[Role, int]:
    """The percentage of traffic of each role; they add to 100."""
    canary = release.canary.weight if release.canary else 0
    return {Role.STABLE: 100 - canary, Role.CANARY: canary}


def _service(release: Release, role: Role) -> Manifest:
    # Health is asked for per Service, because stable and canary may run different servers; before there is a
    # canary, its Service is set up as for stable.
    runtime = (deployed_as(release, role) or release.stable).runtime
    annotations = {
        f"{_PREFIX}/healthcheck-path": health_path(runtime, release.model),
        f"{_PREFIX}/healthcheck-port": "traffic-port",
        f"{_PREFIX}/healthcheck-interval-seconds": "10",
        f"{_PREFIX}/healthy-threshold-count": "2",
        f"{_PREFIX}/target-group-attributes": f"deregistration_delay.timeout_seconds={DEREGISTRATION_SECONDS}",
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(release, Wave.ADDRESSES, role, annotations=annotations),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(release.model, role),
            "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http"}],
        },
    }


def _ingress(release: Release, environment: Environment) -> Manifest:
    # `use-annotation` as the port's name makes the controller look for an action of the backend's name
    backend = {"service": {"name": _ACTION, "port": {"name": "use-annotation"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(release, Wave.RULES, annotations=_annotations(release, environment.router)),
        "spec": {
            "ingressClassName": environment.router.ingress_class_name,
            "rules": [
                {
                    "host": f"{release.model}.{environment.domain}",
                    "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
                }
            ],
        },
    }


def _annotations(release: Release, alb: AlbSettings) -> dict[str, str]:
    found = {
        f"{_PREFIX}/actions.{_ACTION}": _forward(release),
        f"{_PREFIX}/scheme": alb.scheme,
        f"{_PREFIX}/target-type": "ip",
        f"{_PREFIX}/listen-ports": json.dumps([{"HTTP": 80}]),
    }
    if alb.group:
        found[f"{_PREFIX}/group.name"] = alb.group
    if alb.certificate_arn:
        found[f"{_PREFIX}/listen-ports"] = json.dumps([{"HTTP": 80}, {"HTTPS": 443}])
        found[f"{_PREFIX}/ssl-redirect"] = "443"
        found[f"{_PREFIX}/certificate-arn"] = alb.certificate_arn
    return found


def _forward(release: Release) -> str:
    groups = [
        {"serviceName": object_name(release.model, role), "servicePort": HTTP_PORT, "weight": weight}
        for role, weight in weights(release).items()
    ]
    # indented, so that a step is a diff of the lines with the weights and nothing else
    return json.dumps({"type": "forward", "forwardConfig": {"targetGroups": groups}}, indent=2)
