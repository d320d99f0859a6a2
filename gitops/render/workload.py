"""What runs a release: for stable, and for the canary while there is one, a Deployment and what keeps it up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gitops.config import Settings
from gitops.manifests import Manifest, Role, Wave, deployed_as, metadata, selector
from gitops.release import Deployed, Release
from gitops.render.autoscalers import autoscaler
from gitops.render.files import config_map
from gitops.render.monitoring import pod_monitor
from gitops.render.pods import pod_template
from gitops.routers.base import Kind
from gitops.runtimes import RUNTIMES

_NODE_SECONDS = 600  # in which a GPU node starts and pulls the image, before a model begins to load

KINDS: Sequence[Kind] = (
    Kind("", "ConfigMap"),
    Kind("", "ServiceAccount"),
    Kind("apps", "Deployment"),
    Kind("autoscaling", "HorizontalPodAutoscaler"),
    Kind("keda.sh", "ScaledObject"),
    Kind("monitoring.coreos.com", "PodMonitor"),
    Kind("policy", "PodDisruptionBudget"),
)
"""Everything that a workload may have, whatever people's settings; a router may replace some of it."""


def workload(release: Release, settings: Settings, namespace: str) -> Sequence[Manifest]:
    """The service account, and per role a Deployment, an autoscaler and a disruption budget.

    Raises:
        InvalidInput: a server does not tell what it is to be scaled by.
    """
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(release, Wave.ADDRESSES),
        "automountServiceAccountToken": False,
    }
    found: list[Manifest] = [account]
    if settings.monitoring.kind == "podMonitor":
        found.append(pod_monitor(release, settings.monitoring))
    for role in Role:
        deployed = deployed_as(release, role)
        if deployed:
            found += _of_role(release, role, deployed, settings, namespace)
    return found


def _of_role(
    release: Release, role: Role, deployed: Deployed, settings: Settings, namespace: str
) -> Iterator[Manifest]:
    files = RUNTIMES[deployed.runtime].configured(settings).files
    if files:
        yield config_map(release, role, files)
    yield _deployment(release, role, deployed, settings)
    yield _disruption_budget(release, role)
    yield autoscaler(release, role, deployed, settings, namespace)


def _deployment(release: Release, role: Role, deployed: Deployed, settings: Settings) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(release, Wave.SERVERS, role, deployed.version),
        # no replicas here: the autoscaler owns that number, and git naming one would set it back at every sync
        "spec": {
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": settings.server.startup_seconds + _NODE_SECONDS,
            "selector": {"matchLabels": selector(release.model, role)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": pod_template(release, role, deployed, settings),
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
