"""How the Prometheus Operator finds the servers: a PodMonitor."""

from __future__ import annotations

from gitops.config import Monitoring
from gitops.manifests import ROLE_LABEL, Manifest, Role, Wave, deployed_as, metadata
from gitops.release import Release
from gitops.runtimes import RUNTIMES


def pod_monitor(release: Release, monitoring: Monitoring) -> Manifest:
    """The PodMonitor of a model's pods, stable and canary.

    By number and not by name, a port is that of one kind of server alone (prometheus-operator's API reference,
    PodMetricsEndpoint, `portNumber`): while stable and canary have different ones, neither is asked for the other's.
    """
    running = [deployed for role in Role if (deployed := deployed_as(release, role))]
    specs = [RUNTIMES[runtime] for runtime in dict.fromkeys(deployed.runtime for deployed in running)]
    found = metadata(release, Wave.SERVERS)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {**found, "labels": {**dict(sorted(monitoring.labels.items())), **found["labels"]}},
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": release.model}},
            # so that stable and canary, and one version and the next, can be told apart in what they measure
            "podTargetLabels": ["app.kubernetes.io/version", "sluicegate.dev/model", ROLE_LABEL],
            "podMetricsEndpoints": [
                {"portNumber": spec.ports[spec.metrics.port], "path": spec.metrics.path} for spec in specs
            ],
        },
    }
