"""Traffic split by Argo Rollouts on an Application Load Balancer, for teams that want its controller to own the weight.

Git has the version and the steps, and not the weight: a promotion is one commit with the new version at 100 percent,
and the controller (version 1.9; argo-rollouts' docs/features/traffic-management/alb.md) takes the traffic there step
by step, by rewriting an annotation of the Ingress. A rollback is a commit as ever. Back to one of the last versions, it
does not wait for the steps (docs/features/rollback.md, "Rollback Windows").

It has to be told of an ingress class other than `alb` (its flag `--alb-ingress-classes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from gitops.config import Environment, RolloutsSettings
from gitops.layout import environment_file
from gitops.manifests import HTTP_PORT, ROLE_LABEL, Manifest, Role, Wave, labels, metadata, object_name
from gitops.release import Release
from gitops.routers.base import INGRESS, SERVICE, Kind, hosts, service
from gitops.routers.ingress import PREFIX, ingress, target_group
from gitops.routers.pods import in_wave, is_autoscaler, pod_spec, scaling, with_spec
from registry.errors import InvalidInput

_API = "argoproj.io/v1alpha1"
_ROUTER_LABEL = "sluicegate.dev/router"
_SCALE_DOWN_SECONDS = 60  # a target group lets go of a version's pods before they are stopped
_AT_ONCE = 3  # revisions, the newest among them, between which the way back skips the steps
_ROOT, _PING, _PONG = "root", "ping", "pong"


class RolloutsRouter:
    """A Rollout in the place of the stable Deployment, three Services, and an Ingress whose weights are not in git.

    Of the Services named ping and pong, one leads to the stable version and the other to the canary, and after each
    promotion they have changed sides. With a stable and a canary Service, the controller instead would turn the stable
    Service over to the new pods at the end, which the load balancer never held back until it had found them healthy
    (alb.md, "TargetGroup IP Verification"): for a moment, traffic might have nowhere to go. The third is the one that
    the Ingress names in place of a weight.

    The Ingress comes with the Rollout and not after it. The controller takes a Rollout without its Ingress for wrong,
    and an Ingress has no address until the controller has written its weights: neither gets healthy alone. Until
    then, the load balancer goes on as it did.

    So does the autoscaler, and that wave is the last. Argo CD waits for the health of every other one, which a Rollout
    has not while it pauses, and begins no sync before the last has ended: a rollback would wait for people to go on
    with what it takes back.
    """

    KINDS: ClassVar[Sequence[Kind]] = (SERVICE, INGRESS, Kind("argoproj.io", "Rollout"))
    OWNS_WEIGHT: ClassVar[bool] = True
    IGNORED: ClassVar[Sequence[Mapping[str, Any]]] = (
        {"group": "", "kind": "Service", "jsonPointers": ["/spec/selector/rollouts-pod-template-hash"]},
        {
            "group": "networking.k8s.io",
            "kind": "Ingress",
            "jqPathExpressions": [
                f'.metadata.annotations["{PREFIX}/actions." + .metadata.name + "-{_ROOT}"]',
                '.metadata.annotations["rollouts.argoproj.io/managed-alb-actions"]',
            ],
        },
        {"group": "argoproj.io", "kind": "Rollout", "jsonPointers": ["/spec/replicas"]},  # the autoscaler's
    )

    def __init__(self, settings: RolloutsSettings, environment: Environment) -> None:
        self._settings = settings
        self._environment = environment

    def objects(self, release: Release, workload: Sequence[Manifest]) -> Sequence[Manifest]:
        """The workload with a Rollout for its Deployment, the three Services, and the Ingress.

        Raises:
            InvalidInput: the release has a canary of its own.
        """
        if release.canary:
            raise InvalidInput(
                f"{release.model}@{release.canary.version} takes {release.canary.weight} % of {release.environment}"
                f" by git, where {environment_file(release.environment)} now leaves the weights to Argo Rollouts: put"
                " the router back, finish that canary with --weight 100 or roll it back, and change the router then."
            )
        rule = ingress(
            release,
            self._settings,
            hosts(release, self._environment),
            Wave.SERVERS,
            _name(release, _ROOT),
            {},
        )
        found = [self._instead(release, manifest) for manifest in workload]
        return [*found, *(_service(release, part) for part in (_ROOT, _PING, _PONG)), rule]

    def _instead(self, release: Release, manifest: Manifest) -> Manifest:
        if manifest["kind"] == "Deployment":
            return self._rollout(release, manifest)
        if is_autoscaler(manifest):
            found = scaling(manifest, _API, "Rollout", object_name(release.model, Role.STABLE))
            return in_wave(found, Wave.SERVERS)
        if manifest["kind"] == "PodDisruptionBudget":
            return with_spec(manifest, selector={"matchLabels": _selector(release.model)})
        return manifest

    def _rollout(self, release: Release, deployment: Manifest) -> Manifest:
        selector = _selector(release.model)
        template = deployment["spec"]["template"]
        # which role a pod has is not known here: the controller writes it on, and again when it changes
        plain = {key: value for key, value in template["metadata"]["labels"].items() if key != ROLE_LABEL}
        return {
            "apiVersion": _API,
            "kind": "Rollout",
            "metadata": deployment["metadata"],
            "spec": {
                "revisionHistoryLimit": deployment["spec"]["revisionHistoryLimit"],
                "progressDeadlineSeconds": deployment["spec"]["progressDeadlineSeconds"],
                "progressDeadlineAbort": True,
                "rollbackWindow": {"revisions": _AT_ONCE},
                "selector": {"matchLabels": selector},
                "strategy": {"canary": self._canary(release)},
                "template": {
                    "metadata": {**template["metadata"], "labels": {**plain, **selector}},
                    "spec": _apart(pod_spec(deployment), selector),
                },
            },
        }

    def _canary(self, release: Release) -> dict[str, Any]:
        alb = {"ingress": release.model, "rootService": _name(release, _ROOT), "servicePort": HTTP_PORT}
        return {
            "pingPong": {"pingService": _name(release, _PING), "pongService": _name(release, _PONG)},
            "trafficRouting": {"alb": alb},
            "stableMetadata": {"labels": {ROLE_LABEL: str(Role.STABLE)}},
            "canaryMetadata": {"labels": {ROLE_LABEL: str(Role.CANARY)}},
            "maxUnavailable": 0,
            "maxSurge": 1,
            "scaleDownDelaySeconds": _SCALE_DOWN_SECONDS,
            "abortScaleDownDelaySeconds": self._settings.abort_scale_down_delay_seconds,
            "steps": [step.model_dump(by_alias=True, exclude_none=True) for step in self._settings.steps],
        }


def _name(release: Release, part: str) -> str:
    return f"{release.model}-{part}"


def _selector(model: str) -> dict[str, str]:
    """Labels that all pods of a model's Rollout have and none of a Deployment: the way here and back is by both."""
    return {"app.kubernetes.io/name": model, _ROUTER_LABEL: "rollouts"}


def _apart(spec: dict[str, Any], selector: Mapping[str, str]) -> dict[str, Any]:
    """The pods' spec, in which they are spread among all that `selector` matches."""
    constraints = spec.get("topologySpreadConstraints")
    if not constraints:
        return spec
    matched = {"labelSelector": {"matchLabels": dict(selector)}}
    return {**spec, "topologySpreadConstraints": [{**constraint, **matched} for constraint in constraints]}


def _service(release: Release, part: str) -> Manifest:
    found = metadata(release, Wave.ADDRESSES, annotations=_annotations(release, part))
    named = {"name": _name(release, part), "labels": {**labels(release), ROLE_LABEL: part}}
    return service({**found, **named}, _selector(release.model))


def _annotations(release: Release, part: str) -> Mapping[str, str]:
    if part == _ROOT:  # it stands for a split, and has no target group
        return {}
    # A selector is replaced as a whole by server-side apply (ServiceSpec, `selector`: an atomic map), which would take
    # the controller's label out of it at every sync and mix the versions until it is back. The older kind of apply
    # leaves keys alone that were never in git.
    return {"argocd.argoproj.io/sync-options": "ServerSideApply=false", **target_group(release, Role.STABLE)}
