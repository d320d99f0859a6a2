"""Environments with each router, and releases of one model in them."""

from __future__ import annotations

from typing import Any

from gitops.config import Environment, Model, parse_environment, parse_model
from gitops.release import Canary, Deployed, Release, Runtime
from gitops.render import objects
from gitops.routers import router_for

CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/1-2"
FULL_ALB = f"""\
kind: alb
ingressClassName: shared
scheme: internet-facing
group: models
groupOrder: 10
certificateArn: {CERTIFICATE}
sslPolicy: ELBSecurityPolicy-TLS13-1-2-2021-06
webAclArn: arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/models/11111111-2222-3333-4444-555555555555
inboundCidrs: [10.0.0.0/8, "2001:db8::/32"]
subnets: [subnet-01234567, subnet-0123456789abcdef0]
stickiness: {{durationSeconds: 600}}
accessLogs: {{bucket: acme-logs, prefix: models/prod}}
idleTimeoutSeconds: 300
"""
GATEWAY = "kind: gateway\ngateway: {name: public}\n"
FULL_GATEWAY = """\
kind: gateway
gateway: {name: public, namespace: gateways, sectionName: https}
stickiness: {durationSeconds: 600}
"""
ROLLOUTS = "kind: rollouts\n"
FULL_ROLLOUTS = f"""\
kind: rollouts
scheme: internet-facing
certificateArn: {CERTIFICATE}
steps: [{{setWeight: 5}}, {{pause: {{}}}}, {{setWeight: 50}}, {{pause: {{duration: 1h}}}}]
abortScaleDownDelaySeconds: 900
"""
KSERVE = "kind: kserve\n"
ALL = {
    "alb": "kind: alb\n",
    "full alb": FULL_ALB,
    "gateway": GATEWAY,
    "full gateway": FULL_GATEWAY,
    "rollouts": ROLLOUTS,
    "full rollouts": FULL_ROLLOUTS,
    "kserve": KSERVE,
}
"""Text of `router` by what the case is called."""
WEIGHS = [name for name, text in ALL.items() if "rollouts" not in text]
"""The cases whose weights are in git."""


def environment(router: str = ALL["alb"], name: str = "prod") -> Environment:
    indented = "".join(f"  {line}\n" for line in router.splitlines())
    text = f"name: {name}\nnamespace: models\ndomain: models.example.com\nrouter:\n{indented}"
    return parse_environment(text.encode(), f"environments/{name}.yaml")


def model(settings: str = "", name: str = "fraud") -> Model:
    return parse_model(f"name: {name}\n{settings}".encode(), f"models/{name}/model.yaml")


def deployed(version: int, runtime: Runtime = Runtime.TORCHSERVE, *, volume: bool = False) -> Deployed:
    image = f"registry.example/models/fraud@sha256:{version:064x}"
    if volume:
        server = f"registry.example/servers/{runtime.value}@sha256:{'5' * 64}"
        return Deployed(version=version, image=server, runtime=runtime, volume=image)
    return Deployed(version=version, image=image, runtime=runtime)


def release(
    weight: int | None = None, stable: Deployed | None = None, trial: Deployed | None = None, name: str = "fraud"
) -> Release:
    """Version 1, and version 2 as the canary at `weight`."""
    canary = Canary(**(trial or deployed(2)).model_dump(), weight=weight) if weight else None
    return Release(model=name, environment="prod", stable=stable or deployed(1), canary=canary)


def rendered(now: Release, router: str = ALL["alb"], settings: str = "") -> dict[tuple[str, str], Any]:
    """Everything that is applied, by kind and name, in the order in which it is."""
    found = objects(now, model(settings, now.model), environment(router, now.environment))
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in found}


def wave(manifest: Any) -> int:
    return int(manifest["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


def pods(manifest: Any) -> list[dict[str, Any]]:
    """Every pod template in a Deployment, Rollout or InferenceService, with labels as `labels`."""
    if manifest["kind"] == "InferenceService":
        spec = manifest["spec"]
        return [spec["predictor"], *(one["predictor"] for one in spec.get("canary", ()))]
    template = manifest["spec"]["template"]
    return [{"labels": template["metadata"]["labels"], **template["spec"]}]


def with_keda(router: str, now: Release) -> dict[tuple[str, str], Any]:
    """What a router makes of a workload that KEDA scales, by kind and name."""
    place = environment(router, now.environment)
    workload = [_scaled(found) for found in objects(now, model(), environment(name=now.environment))]
    kept = [found for found in workload if found["kind"] not in ("Service", "Ingress")]
    return {(one["kind"], one["metadata"]["name"]): one for one in router_for(place).objects(now, kept)}


def _scaled(manifest: Any) -> Any:
    if manifest["kind"] != "HorizontalPodAutoscaler":
        return manifest
    target = {"name": manifest["spec"]["scaleTargetRef"]["name"]}  # a Deployment, where no kind is named
    spec = {"scaleTargetRef": target, "minReplicaCount": 2, "maxReplicaCount": 6, "triggers": []}
    return {**manifest, "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "spec": spec}
