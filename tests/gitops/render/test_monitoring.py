"""The PodMonitor finds every pod of a model, each at its own server's port, and is found itself."""

from __future__ import annotations

from typing import Any

import pytest

from gitops.release import Runtime
from tests.gitops.routers.cases import ALL, deployed, pods, release, rendered

_SAID = "monitoring: {kind: podMonitor, labels: {release: prom}}"


def monitor(*runtimes: Runtime, router: str = ALL["alb"]) -> tuple[Any, list[Any]]:
    """The PodMonitor, and all the pods beside it."""
    stable, *canary = (deployed(version, runtime) for version, runtime in enumerate(runtimes, 1))
    found = rendered(release(10 if canary else None, stable, *canary), router, _SAID)
    running = [one for (kind, _), one in found.items() if kind in ("Deployment", "Rollout", "InferenceService")]
    return found["PodMonitor", "fraud"], [pod for one in running for pod in pods(one)]


def test_without_the_operator_there_is_none() -> None:
    assert not [kind for kind, _ in rendered(release()) if kind == "PodMonitor"]


def test_kube_prometheus_stack_finds_it() -> None:
    found, _ = monitor(Runtime.TRITON)
    assert found["metadata"]["labels"]["release"] == "prom"
    assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "sluice"


@pytest.mark.parametrize("router", ["alb", "gateway", "rollouts", "kserve"])
def test_it_finds_all_pods(router: str) -> None:
    canary = () if router == "rollouts" else (Runtime.TRITON,)
    found, running = monitor(Runtime.TRITON, *canary, router=ALL[router])
    assert running
    for pod in running:
        assert found["spec"]["selector"]["matchLabels"].items() <= pod["labels"].items()


def test_each_server_is_asked_at_its_own_port_alone() -> None:
    found, running = monitor(Runtime.TRITON, Runtime.TENSORFLOW_SERVING)
    ends = {end["portNumber"]: end["path"] for end in found["spec"]["podMetricsEndpoints"]}
    assert ends == {8002: "/metrics", 8501: "/monitoring/prometheus/metrics"}
    for pod in running:
        (server,) = pod["containers"]
        assert len(ends.keys() & {port["containerPort"] for port in server["ports"]}) == 1


def test_what_is_measured_tells_the_role_and_the_version() -> None:
    found, running = monitor(Runtime.TORCHSERVE, Runtime.TORCHSERVE)
    assert len(found["spec"]["podMetricsEndpoints"]) == 1
    for label in found["spec"]["podTargetLabels"]:
        assert all(label in pod["labels"] for pod in running)
    assert "sluicegate.dev/role" in found["spec"]["podTargetLabels"]
