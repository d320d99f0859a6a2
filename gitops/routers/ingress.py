"""An Ingress as the AWS Load Balancer Controller reads it, whoever sets its weights.

The annotations are those of the controller's guide/ingress/annotations. In an IngressGroup, one load balancer serves
the Ingresses of many models, and its rules stand in the order of `group.order` and then of namespace and name. Each of
ours asks for one exact host and no two for the same, so no request fits two of them, and it does not matter that a new
model moves the rules of others. The order is for what else is in the group, a catch-all rule for one: `groupOrder` puts
all models of an environment before or behind that. It is a setting and never a count of models, so it stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from gitops.config import LoadBalancer
from gitops.manifests import HTTP_PORT, Manifest, Role, Wave, metadata
from gitops.release import Release
from gitops.routers.base import HEALTH_INTERVAL_SECONDS, HEALTHY_AFTER, HEALTHY_CODES, asked_path
from gitops.runtimes import DEREGISTRATION_SECONDS

PREFIX = "alb.ingress.kubernetes.io"


def target_group(release: Release, role: Role) -> dict[str, str]:
    """A Service's annotations, which become the settings of its target group."""
    return {
        f"{PREFIX}/healthcheck-path": asked_path(release, role),
        f"{PREFIX}/healthcheck-port": "traffic-port",
        f"{PREFIX}/healthcheck-interval-seconds": str(HEALTH_INTERVAL_SECONDS),
        f"{PREFIX}/healthy-threshold-count": str(HEALTHY_AFTER),
        f"{PREFIX}/success-codes": HEALTHY_CODES,
        f"{PREFIX}/target-group-attributes": f"deregistration_delay.timeout_seconds={DEREGISTRATION_SECONDS}",
    }


def forward(settings: LoadBalancer, weights: Mapping[str, int]) -> str:
    """The action that splits traffic between Services by their weights.

    Clients are kept with a version only while two have a share. Stickiness comes before weights and even before the
    health of targets: for as long as it lasts, a load balancer answers 503 to whoever had a canary that is gone.
    """
    groups = [{"serviceName": name, "servicePort": HTTP_PORT, "weight": weight} for name, weight in weights.items()]
    config: dict[str, object] = {"targetGroups": groups}
    if settings.stickiness:
        sticky = {"enabled": True, "durationSeconds": settings.stickiness.duration_seconds}
        config["targetGroupStickinessConfig"] = sticky if all(weights.values()) else {"enabled": False}
    # indented, so that a step is a diff of the lines with the weights and nothing else
    return json.dumps({"type": "forward", "forwardConfig": config}, indent=2)


def ingress(
    release: Release,
    settings: LoadBalancer,
    hosts: Sequence[str],
    wave: Wave,
    action: str,
    annotations: Mapping[str, str],
) -> Manifest:
    """The Ingress whose rules lead to `action`, which `annotations` or a controller describe."""
    # `use-annotation` as the port's name makes the controller look for an action of the backend's name
    backend = {"service": {"name": action, "port": {"name": "use-annotation"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(release, wave, annotations={**annotations, **_load_balancer(settings)}),
        "spec": {
            "ingressClassName": settings.ingress_class_name,
            "rules": [{"host": host, "http": {"paths": paths}} for host in hosts],
        },
    }


def _load_balancer(settings: LoadBalancer) -> dict[str, str]:
    return {f"{PREFIX}/{name}": value for part in (_place, _listeners, _doors) for name, value in part(settings)}


def _place(settings: LoadBalancer) -> Iterator[tuple[str, str]]:
    yield "scheme", settings.scheme
    yield "target-type", "ip"
    if settings.group:
        yield "group.name", settings.group
    if settings.group_order is not None:
        yield "group.order", str(settings.group_order)
    if settings.subnets:
        yield "subnets", ",".join(settings.subnets)
    yield "load-balancer-attributes", ",".join(f"{key}={value}" for key, value in _attributes(settings))


def _attributes(settings: LoadBalancer) -> Iterator[tuple[str, str]]:
    """As the ELB API names them (ModifyLoadBalancerAttributes); none of their values can hold a comma."""
    yield "routing.http.drop_invalid_header_fields.enabled", str(settings.drop_invalid_header_fields).lower()
    if settings.idle_timeout_seconds:
        yield "idle_timeout.timeout_seconds", str(settings.idle_timeout_seconds)
    if settings.access_logs:
        yield "access_logs.s3.enabled", "true"
        yield "access_logs.s3.bucket", settings.access_logs.bucket
        if settings.access_logs.prefix:
            yield "access_logs.s3.prefix", settings.access_logs.prefix


def _listeners(settings: LoadBalancer) -> Iterator[tuple[str, str]]:
    if not settings.certificate_arn:
        yield "listen-ports", json.dumps([{"HTTP": 80}])
        return
    yield "listen-ports", json.dumps([{"HTTP": 80}, {"HTTPS": 443}])
    yield "ssl-redirect", "443"
    yield "certificate-arn", settings.certificate_arn
    if settings.ssl_policy:
        yield "ssl-policy", settings.ssl_policy


def _doors(settings: LoadBalancer) -> Iterator[tuple[str, str]]:
    """Who gets in."""
    if settings.inbound_cidrs:
        yield "inbound-cidrs", ",".join(settings.inbound_cidrs)
    if settings.security_groups:
        yield "security-groups", ",".join(settings.security_groups)
        # with groups of one's own, the controller opens the pods to the load balancer only where it is told to
        yield "manage-backend-security-group-rules", "true"
    if settings.web_acl_arn:
        yield "wafv2-acl-arn", settings.web_acl_arn
