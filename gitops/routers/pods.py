"""From Deployments to what another controller reads: the parts of a workload that such routers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gitops.manifests import ROLE_LABEL, WAVE, Manifest, Role, Wave


def deployment_of(workload: Sequence[Manifest], role: Role) -> Manifest:
    """The Deployment of a role that has a version: the workload has one for each."""
    return next(found for found in workload if found["kind"] == "Deployment" and role_of(found) == role)


def role_of(manifest: Manifest) -> str | None:
    """The role that an object is for; None for one that is for both."""
    found: str | None = manifest["metadata"]["labels"].get(ROLE_LABEL)
    return found


def with_spec(manifest: Manifest, **fields: Any) -> Manifest:
    """The object with these fields of its spec replaced where they stand, or added."""
    return {**manifest, "spec": {**manifest["spec"], **fields}}


def scaling(manifest: Manifest, api_version: str, kind: str, name: str) -> Manifest:
    """An autoscaler (HorizontalPodAutoscaler, KEDA's ScaledObject) that scales this instead of its Deployment."""
    target = {**manifest["spec"]["scaleTargetRef"], "apiVersion": api_version, "kind": kind, "name": name}
    return with_spec(manifest, scaleTargetRef=target)


def in_wave(manifest: Manifest, wave: Wave) -> Manifest:
    """The object, applied in this wave."""
    annotations = {**manifest["metadata"]["annotations"], WAVE: str(int(wave))}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def is_autoscaler(manifest: Manifest) -> bool:
    """Whether the object says how many replicas another one has."""
    return "scaleTargetRef" in manifest.get("spec", {})


def pod_spec(deployment: Manifest) -> dict[str, Any]:
    """The spec of a Deployment's pods, with the protocol of each port written out.

    A custom resource is compared with git as it is stored, and there the API server has put this default in.
    """
    spec: dict[str, Any] = {**deployment["spec"]["template"]["spec"]}
    spec["containers"] = [_explicit(container) for container in spec["containers"]]
    return spec


def _explicit(container: Mapping[str, Any]) -> dict[str, Any]:
    ports = [{**port, "protocol": port.get("protocol", "TCP")} for port in container.get("ports", ())]
    return {**container, "ports": ports} if ports else dict(container)
