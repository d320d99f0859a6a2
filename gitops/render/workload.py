"""What runs a release: for stable, and for the canary while there is one, a Deployment and what keeps it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gitops.config import Settings
from gitops.manifests import Manifest, Role, Wave, deployed_as, labels, metadata, object_name, selector
from gitops.release import Deployed, Release
from gitops.runtimes import DEREGISTRATION_SECONDS, MODEL_ROOT, RUNTIMES, RuntimeSpec, health_path

# The pod stays up until the load balancer has heard of it (10 s) and let requests finish; then the server stops.
_SLEEP_SECONDS = DEREGISTRATION_SECONDS + 10
_GRACE_SECONDS = _SLEEP_SECONDS + 30
_STARTUP_SECONDS = 1200  # a large model loads for minutes; liveness does not count until it has
_ROLLOUT_SECONDS = _STARTUP_SECONDS + 600  # and before that a GPU node starts and pulls the image


def workload(release: Release, settings: Settings) -> Sequence[Manifest]:
    """The service account, and per role a Deployment, an autoscaler and a disruption budget."""
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(release, Wave.ADDRESSES),
        "automountServiceAccountToken": False,
    }
    found: list[Manifest] = [account]
    for role in Role:
        deployed = deployed_as(release, role)
        if deployed:
            found += [
                _deployment(release, role, deployed, settings),
                _disruption_budget(release, role),
                _autoscaler(release, role, settings),
            ]
    return found


def _deployment(release: Release, role: Role, deployed: Deployed, settings: Settings) -> Manifest:
    spec = RUNTIMES[deployed.runtime]
    pod_metadata: dict[str, Any] = {"labels": labels(release, role, deployed.version)}
    if spec.pod_annotations:
        pod_metadata["annotations"] = dict(spec.pod_annotations)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(release, Wave.SERVERS, role, deployed.version),
        # no replicas here: the autoscaler owns that number, and git naming one would set it back at every sync
        "spec": {
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": _ROLLOUT_SECONDS,
            "selector": {"matchLabels": selector(release.model, role)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": pod_metadata, "spec": _pod(release.model, role, deployed, settings)},
        },
    }


def _pod(model: str, role: Role, deployed: Deployed, settings: Settings) -> dict[str, Any]:
    spec = RUNTIMES[deployed.runtime]
    pod: dict[str, Any] = {
        "serviceAccountName": model,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": spec.user,
            "runAsGroup": spec.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(model, role)},
            }
        ],
    }
    if settings.node_selector:
        pod["nodeSelector"] = dict(sorted(settings.node_selector.items()))
    if settings.tolerations:
        pod["tolerations"] = [toleration.model_dump(exclude_none=True) for toleration in settings.tolerations]
    pod["containers"] = [_container(model, deployed, settings, spec)]
    volumes = [volume for volume, _ in _volumes(deployed, spec)]
    if volumes:
        pod["volumes"] = volumes
    return pod


def _volumes(deployed: Deployed, spec: RuntimeSpec) -> Sequence[tuple[dict[str, Any], dict[str, Any]]]:
    """Volumes of the pod, each with how the server's container mounts it."""
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if deployed.volume:
        # Kubernetes, "Use an Image Volume With a Pod": on by default from 1.35 on; always mounted read-only
        image = {"reference": deployed.volume, "pullPolicy": "IfNotPresent"}
        found.append(({"name": "model", "image": image}, {"name": "model", "mountPath": MODEL_ROOT, "readOnly": True}))
    if not spec.writes_to_image:
        found.append(
            (
                {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # a path in the container
            )
        )
    if spec.shared_memory:
        # what is written there counts as the container's memory; the limit keeps it from taking all of that
        memory = {"medium": "Memory", "sizeLimit": spec.shared_memory}
        found.append(
            (
                {"name": "shm", "emptyDir": memory},
                {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108  # a path in the container
            )
        )
    return found


def _container(model: str, deployed: Deployed, settings: Settings, spec: RuntimeSpec) -> dict[str, Any]:
    ready = dict(spec.ready(model))
    container: dict[str, Any] = {
        "name": "server",
        "image": deployed.image,
        "imagePullPolicy": "IfNotPresent",  # by digest, so what is present is what is wanted
        "ports": [{"name": name, "containerPort": port} for name, port in spec.ports.items()],
        "resources": _resources(settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": not spec.writes_to_image,
        },
        "startupProbe": {
            **ready,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": _STARTUP_SECONDS // 10,
        },
        "readinessProbe": {**ready, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {
            "httpGet": {"path": health_path(deployed.runtime, model), "port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": _SLEEP_SECONDS}}},
    }
    if deployed.volume:
        container["command"] = list(spec.command(model))
        container["workingDir"] = spec.working_dir
    mounts = [mount for _, mount in _volumes(deployed, spec)]
    if mounts:
        container["volumeMounts"] = mounts
    return container


def _resources(settings: Settings) -> dict[str, Any]:
    # CPU is not limited: what the node has to spare shortens requests, and the autoscaler counts what is requested
    wanted = settings.resources
    gpu = {"nvidia.com/gpu": str(wanted.gpu)} if wanted.gpu else {}
    return {
        "requests": {"cpu": wanted.cpu, "memory": wanted.memory, **gpu},
        "limits": {"memory": wanted.memory, **gpu},
    }


def _autoscaler(release: Release, role: Role, settings: Settings) -> Manifest:
    name, scaling = object_name(release.model, role), settings.scaling
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(release, Wave.RULES, role),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            # a canary may take one percent of the traffic: it starts with one replica and grows with its weight
            "minReplicas": scaling.min if role is Role.STABLE else 1,
            "maxReplicas": scaling.max,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": scaling.cpu_utilization},
                    },
                }
            ],
        },
    }


def _disruption_budget(release: Release, role: Role) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(release, Wave.SERVERS, role),
        # maxUnavailable rather than minAvailable, which would never let a node with the only replica be drained
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(release.model, role)},
        },
    }
