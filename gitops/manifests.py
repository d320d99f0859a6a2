"""What all rendered Kubernetes objects share: names, labels, waves, and the file each one is written to."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any

from gitops.release import Deployed, Release

Manifest = Mapping[str, Any]
"""One Kubernetes object, in the order in which it is written."""

ROLE_LABEL = "sluicegate.dev/role"
WAVE = "argocd.argoproj.io/sync-wave"
"""The annotation with an object's `Wave`."""
HTTP_PORT = 80
"""The port of every Service, whatever its pods listen on; there it is the container port named `http`."""


class Role(StrEnum):
    """Which of the two places in a release a Deployment and its Service hold."""

    STABLE = "stable"
    CANARY = "canary"


class Wave(IntEnum):
    """Argo CD's order: it goes on when everything in a wave is healthy, and prunes after the last (PruneLast).

    So a rule moves traffic only to pods that are ready, and what it no longer names goes after it has let go.
    The autoscalers come with the rules: one without metrics yet counts as degraded, and must not hold up a rule.
    """

    ADDRESSES = 0
    SERVERS = 1
    RULES = 2


def deployed_as(release: Release, role: Role) -> Deployed | None:
    """The version in that place, if any."""
    return release.stable if role is Role.STABLE else release.canary


def object_name(model: str, role: Role) -> str:
    """The name of the Deployment, the Service and all else of one role: `fraud-canary`."""
    return f"{model}-{role}"


def selector(model: str, role: Role) -> dict[str, str]:
    """Labels of one Deployment's pods that no release changes: a Deployment's selector is immutable."""
    return {"app.kubernetes.io/name": model, ROLE_LABEL: str(role)}


def labels(release: Release, role: Role | None = None, version: int | None = None) -> dict[str, str]:
    """All labels of an object; only what runs a version carries it."""
    instance = object_name(release.model, role) if role else release.model
    found = {
        "app.kubernetes.io/name": release.model,
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/version": str(version) if version else "",
        "app.kubernetes.io/managed-by": "sluice",
        "sluicegate.dev/model": release.model,
        "sluicegate.dev/environment": release.environment,
        ROLE_LABEL: str(role or ""),
    }
    return {key: value for key, value in found.items() if value}


def metadata(
    release: Release,
    wave: Wave,
    role: Role | None = None,
    version: int | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """An object's metadata. The namespace is not here: kustomization.yaml sets it on all of them."""
    return {
        "name": object_name(release.model, role) if role else release.model,
        "labels": labels(release, role, version),
        "annotations": {WAVE: str(int(wave)), **(annotations or {})},
    }


def file_name(manifest: Manifest) -> str:
    """The file of an object: `deployment-canary.yaml`. One object a file, so that a canary comes and goes as files."""
    kind, role = str(manifest["kind"]).lower(), manifest["metadata"]["labels"].get(ROLE_LABEL)
    return f"{kind}-{role}.yaml" if role else f"{kind}.yaml"
