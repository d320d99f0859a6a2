"""The pods that run a version: its server's container, what is mounted there, and where they are put."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gitops.config import Settings, Toleration
from gitops.manifests import Role, labels, selector
from gitops.release import Deployed, Release
from gitops.render.files import files_name
from gitops.runtimes import (
    DEREGISTRATION_SECONDS,
    MODEL_ROOT,
    RUNTIMES,
    SETTINGS_ROOT,
    RuntimeSpec,
    health_path,
)

# The pod stays up until the load balancer has heard of it (10 s) and let requests finish; then the server stops.
SLEEP_SECONDS = DEREGISTRATION_SECONDS + 10
GRACE_SECONDS = SLEEP_SECONDS + 30
_PROBE_SECONDS = 10
_TOPOLOGY = {"zone": "topology.kubernetes.io/zone", "host": "kubernetes.io/hostname"}


class _Mounted(NamedTuple):
    """A volume of the pod, and how the server's container mounts it."""

    volume: Mapping[str, Any]
    mount: Mapping[str, Any]


def pod_template(release: Release, role: Role, deployed: Deployed, settings: Settings) -> dict[str, Any]:
    """The pods that run `deployed` in the place of `role`, as every kind of workload takes them (PodTemplateSpec)."""
    spec = RUNTIMES[deployed.runtime]
    here = settings.on_spot() if settings.node.spot in ("always", role) else settings
    pod_metadata: dict[str, Any] = {"labels": labels(release, role, deployed.version)}
    if settings.monitoring.kind == "annotations":
        pod_metadata["annotations"] = {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(spec.ports[spec.metrics.port]),
            "prometheus.io/path": spec.metrics.path,
        }
    mounted = _mounted(release, role, deployed, settings)
    return {"metadata": pod_metadata, "spec": _pod(release.model, role, deployed, here, mounted)}


def _pod(model: str, role: Role, deployed: Deployed, settings: Settings, mounted: Sequence[_Mounted]) -> dict[str, Any]:
    spec = RUNTIMES[deployed.runtime]
    pod: dict[str, Any] = {
        "serviceAccountName": model,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": spec.user,
            "runAsGroup": spec.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_placed(selector(model, role), settings),
        "containers": [_container(model, deployed, settings, mounted)],
    }
    if mounted:
        pod["volumes"] = [dict(one.volume) for one in mounted]
    return pod


def _placed(alike: Mapping[str, str], settings: Settings) -> dict[str, Any]:
    """Where pods are put, those with the labels `alike` apart from each other."""
    found: dict[str, Any] = {}
    if settings.node.spread:
        found["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": _TOPOLOGY[what],
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(alike)},
            }
            for what in settings.node.spread
        ]
    if settings.node_selector:
        found["nodeSelector"] = dict(sorted(settings.node_selector.items()))
    if settings.tolerations:
        found["tolerations"] = [_toleration(toleration) for toleration in settings.tolerations]
    return found


def _toleration(toleration: Toleration) -> dict[str, Any]:
    return toleration.model_dump(exclude_none=True)


def _mounted(release: Release, role: Role, deployed: Deployed, settings: Settings) -> Sequence[_Mounted]:
    spec = RUNTIMES[deployed.runtime]
    found: list[_Mounted] = []
    if deployed.volume:
        # Kubernetes, "Use an Image Volume With a Pod": on by default from 1.35 on; always mounted read-only
        image = {"reference": deployed.volume, "pullPolicy": "IfNotPresent"}
        mount = {"name": "model", "mountPath": MODEL_ROOT, "readOnly": True}
        found.append(_Mounted({"name": "model", "image": image}, mount))
    if files := spec.configured(settings).files:
        config_map = {"name": files_name(release.model, role, files)}
        mount = {"name": "settings", "mountPath": SETTINGS_ROOT, "readOnly": True}
        found.append(_Mounted({"name": "settings", "configMap": config_map}, mount))
    if not spec.writes_to_image:
        mount = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108  # a path in the container
        found.append(_Mounted({"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, mount))
    if spec.shared_memory:
        # what is written there counts as the container's memory; the limit keeps it from taking all of that
        memory = {"medium": "Memory", "sizeLimit": spec.shared_memory}
        mount = {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108  # a path in the container
        found.append(_Mounted({"name": "shm", "emptyDir": memory}, mount))
    return found


def _container(model: str, deployed: Deployed, settings: Settings, mounted: Sequence[_Mounted]) -> dict[str, Any]:
    spec = RUNTIMES[deployed.runtime]
    ready = dict(spec.ready(model))
    probe = {"periodSeconds": _PROBE_SECONDS, "timeoutSeconds": 5}
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
        # a large model loads for minutes; liveness does not count until it has
        "startupProbe": {**ready, **probe, "failureThreshold": -(-settings.server.startup_seconds // _PROBE_SECONDS)},
        "readinessProbe": {**ready, **probe, "failureThreshold": 3},
        "livenessProbe": {
            "httpGet": {"path": health_path(deployed.runtime, model), "port": "http"},
            **probe,
            "failureThreshold": 6,
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": SLEEP_SECONDS}}},
    }
    container |= _started(model, deployed, settings, spec)
    if mounted:
        container["volumeMounts"] = [dict(one.mount) for one in mounted]
    return container


def _started(model: str, deployed: Deployed, settings: Settings, spec: RuntimeSpec) -> dict[str, Any]:
    """How the server is started, as far as its image does not say it."""
    found: dict[str, Any] = {}
    if deployed.volume:
        found["command"] = list(spec.command(model))
        found["workingDir"] = spec.working_dir
    # behind the image's entry point, which has no arguments of its own to lose by that
    if arguments := spec.configured(settings).arguments:
        found["args"] = list(arguments)
    if settings.server.env:
        # `$(NAME)` stands for another variable there, and `$$` for a dollar (core/v1 EnvVar, "value")
        plain = {name: value.replace("$", "$$") for name, value in sorted(settings.server.env.items())}
        found["env"] = [{"name": name, "value": value} for name, value in plain.items()]
    return found


def _resources(settings: Settings) -> dict[str, Any]:
    # CPU is not limited: what the node has to spare shortens requests, and the autoscaler counts what is requested
    wanted = settings.resources
    gpu = {wanted.gpu_resource: str(wanted.gpu)} if wanted.gpu else {}
    return {
        "requests": {"cpu": wanted.cpu, "memory": wanted.memory, **gpu},
        "limits": {"memory": wanted.memory, **gpu},
    }
