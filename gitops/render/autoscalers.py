"""What says how many replicas there are: a HorizontalPodAutoscaler, or KEDA's ScaledObject, which makes one."""

from __future__ import annotations

from typing import Any, NamedTuple

from gitops.config import Settings
from gitops.layout import model_file
from gitops.manifests import Manifest, Role, Wave, metadata, object_name
from gitops.release import Deployed, Release
from gitops.render.metrics import QUEUE_DEPTHS, Measure, gpu_measure, query
from gitops.runtimes import RUNTIMES
from registry.errors import InvalidInput


class _Aim(NamedTuple):
    """What is measured, and how much of it a replica is to have."""

    measure: Measure
    amount: int


def autoscaler(release: Release, role: Role, deployed: Deployed, settings: Settings, namespace: str) -> Manifest:
    """The autoscaler of a role's Deployment, with a look at the pods of that role alone.

    Raises:
        InvalidInput: the server does not tell what it is to be scaled by.
    """
    aim = _aim(release, deployed, settings)
    if settings.scaling.via == "keda":
        return _scaled_object(release, role, settings, _trigger(release, role, settings, namespace, aim))
    return _horizontal(release, role, settings, aim)


def _aim(release: Release, deployed: Deployed, settings: Settings) -> _Aim | None:
    """None for the CPU, which Kubernetes measures itself."""
    scaling = settings.scaling
    if scaling.metric == "gpu":
        return _Aim(gpu_measure(settings.resources), scaling.gpu_utilization)
    if scaling.metric == "queue":
        measure = QUEUE_DEPTHS.get(deployed.runtime)
        if measure is None:
            raise InvalidInput(
                f"scaling.metric of {release.model} is queue in {release.environment}, but version {deployed.version}"
                f" runs on {RUNTIMES[deployed.runtime].title}, which does not tell how many requests wait: write gpu or"
                f" cpu into {model_file(release.model)}."
            )
        return _Aim(measure, scaling.queue_depth)
    return None


def _horizontal(release: Release, role: Role, settings: Settings, aim: _Aim | None) -> Manifest:
    least, most = _bounds(role, settings)
    spec: dict[str, Any] = {
        "scaleTargetRef": _target(release, role),
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": [_metric(settings, aim)],
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(release, Wave.RULES, role),
        "spec": spec | _behavior(settings),
    }


def _metric(settings: Settings, aim: _Aim | None) -> dict[str, Any]:
    if aim is None:
        target = {"type": "Utilization", "averageUtilization": settings.scaling.cpu_utilization}
        return {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    target = {"type": "AverageValue", "averageValue": str(aim.amount)}
    return {"type": "Pods", "pods": {"metric": {"name": aim.measure.name}, "target": target}}


def _scaled_object(release: Release, role: Role, settings: Settings, trigger: dict[str, Any]) -> Manifest:
    """As keda.sh/docs, "ScaledObject specification", describes it.

    The autoscaler that KEDA makes has the name that ours would have. Where ours is still there, KEDA takes it over by
    that name; else it would refuse the ScaledObject, and Argo CD, which prunes last, would never take ours away.
    """
    annotations = {"scaledobject.keda.sh/transfer-hpa-ownership": "true"}
    least, most = _bounds(role, settings)
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(release, Wave.RULES, role, annotations=annotations),
        "spec": {
            "scaleTargetRef": _target(release, role),
            "minReplicaCount": least,
            "maxReplicaCount": most,
            "advanced": {
                "horizontalPodAutoscalerConfig": {"name": object_name(release.model, role), **_behavior(settings)}
            },
            "triggers": [trigger],
        },
    }


def _trigger(release: Release, role: Role, settings: Settings, namespace: str, aim: _Aim | None) -> dict[str, Any]:
    if aim is None:
        value = str(settings.scaling.cpu_utilization)
        return {"type": "cpu", "metricType": "Utilization", "metadata": {"value": value}}
    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": settings.monitoring.prometheus,
            "query": query(aim.measure, namespace, release.model, role),
            "threshold": str(aim.amount),
            # no answer is no reason to have fewer replicas
            "ignoreNullValues": "false",
        },
    }


def _target(release: Release, role: Role) -> dict[str, str]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": object_name(release.model, role)}


def _bounds(role: Role, settings: Settings) -> tuple[int, int]:
    # a canary may take one percent of the traffic: it starts with one replica and grows with its weight
    return settings.scaling.min if role is Role.STABLE else 1, settings.scaling.max


def _behavior(settings: Settings) -> dict[str, Any]:
    seconds = settings.scaling.scale_down_seconds
    if seconds is None:
        return {}
    return {"behavior": {"scaleDown": {"stabilizationWindowSeconds": seconds}}}
