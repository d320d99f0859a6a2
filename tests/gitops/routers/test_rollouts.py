"""A Rollout, whose controller owns the weight."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gitops.routers.rollouts import RolloutsRouter
from registry.errors import InvalidInput
from tests.gitops.routers.cases import FULL_ROLLOUTS, ROLLOUTS, deployed, release, rendered, wave, with_keda

ROLE = "sluicegate.dev/role"


def rollout(router: str = ROLLOUTS, settings: str = "") -> Any:
    return rendered(release(), router, settings)["Rollout", "fraud-stable"]


def test_no_weight_is_in_git() -> None:
    found = rendered(release(), FULL_ROLLOUTS)
    ingress = found["Ingress", "fraud"]
    assert not [key for key in ingress["metadata"]["annotations"] if "/actions." in key]
    assert not [kind for kind, _ in found if kind == "Deployment"]
    assert "fraud-canary" not in json.dumps(list(found.values()))


def test_a_promotion_changes_the_version_and_nothing_else() -> None:
    before, after = rendered(release(), ROLLOUTS), rendered(release(stable=deployed(2)), ROLLOUTS)
    assert [key for key in before if before[key] != after[key]] == [("Rollout", "fraud-stable")]
    assert before["Rollout", "fraud-stable"]["spec"]["selector"] == after["Rollout", "fraud-stable"]["spec"]["selector"]


def test_the_ingress_names_the_root_service_and_the_rollout_the_ingress() -> None:
    found = rendered(release(), ROLLOUTS)
    canary = found["Rollout", "fraud-stable"]["spec"]["strategy"]["canary"]
    alb = canary["trafficRouting"]["alb"]
    assert alb == {"ingress": "fraud", "rootService": "fraud-root", "servicePort": 80}
    (path,) = found["Ingress", alb["ingress"]]["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": alb["rootService"], "port": {"name": "use-annotation"}}
    for name in (alb["rootService"], canary["pingPong"]["pingService"], canary["pingPong"]["pongService"]):
        service = found["Service", name]
        assert service["spec"]["ports"][0]["port"] == alb["servicePort"]
        assert wave(service) < wave(found["Rollout", "fraud-stable"])
    # neither is healthy without the other, and Argo CD waits for all of a wave
    assert wave(found["Ingress", "fraud"]) == wave(found["Rollout", "fraud-stable"])


def test_services_keep_the_label_that_the_controller_adds() -> None:
    found = rendered(release(), ROLLOUTS)
    for name in ("fraud-ping", "fraud-pong"):
        assert found["Service", name]["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == (
            "ServerSideApply=false"
        )
    ignored = {entry["kind"]: entry for entry in RolloutsRouter.IGNORED}
    assert ignored["Service"]["jsonPointers"] == ["/spec/selector/rollouts-pod-template-hash"]
    assert ignored["Rollout"]["jsonPointers"] == ["/spec/replicas"]
    # the action of an Ingress under the other router is not ignored, whatever its model is called
    assert all("actions.weights" not in path for path in ignored["Ingress"]["jqPathExpressions"])


def test_selectors_match_the_pods_and_none_of_a_deployment() -> None:
    found = rendered(release(), ROLLOUTS)
    labels = found["Rollout", "fraud-stable"]["spec"]["template"]["metadata"]["labels"]
    deployment = rendered(release(10))["Deployment", "fraud-stable"]["spec"]["template"]["metadata"]["labels"]
    selectors = [found["Service", f"fraud-{part}"]["spec"]["selector"] for part in ("root", "ping", "pong")]
    selectors.append(found["Rollout", "fraud-stable"]["spec"]["selector"]["matchLabels"])
    selectors.append(found["PodDisruptionBudget", "fraud-stable"]["spec"]["selector"]["matchLabels"])
    spread = found["Rollout", "fraud-stable"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors += [constraint["labelSelector"]["matchLabels"] for constraint in spread]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= deployment.items()
    # the controller writes the role, and writes another when it changes
    canary = found["Rollout", "fraud-stable"]["spec"]["strategy"]["canary"]
    assert ROLE not in labels
    assert (canary["stableMetadata"], canary["canaryMetadata"]) == (
        {"labels": {ROLE: "stable"}},
        {"labels": {ROLE: "canary"}},
    )


def test_the_autoscaler_scales_the_rollout() -> None:
    found = rendered(release(), ROLLOUTS, "scaling: {min: 2, max: 5}")
    scaler = found["HorizontalPodAutoscaler", "fraud-stable"]["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "fraud-stable"}
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    assert "replicas" not in found["Rollout", "fraud-stable"]["spec"]


def test_keda_scales_the_rollout_too() -> None:
    scaler = with_keda(ROLLOUTS, release())["ScaledObject", "fraud-stable"]["spec"]
    assert scaler == {
        "scaleTargetRef": {"name": "fraud-stable", "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"},
        "minReplicaCount": 2,
        "maxReplicaCount": 6,
        "triggers": [],
    }


def test_steps_are_those_of_the_environment() -> None:
    canary = rollout(FULL_ROLLOUTS)["spec"]["strategy"]["canary"]
    assert canary["steps"] == [{"setWeight": 5}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": "1h"}}]
    assert canary["abortScaleDownDelaySeconds"] == 900
    assert [*rollout()["spec"]["strategy"]["canary"]["steps"][0]] == ["setWeight"]


def test_a_rollout_that_waits_for_people_holds_up_no_rollback() -> None:
    # a sync ends with its last wave, and waits for the health of every one before it; paused is not healthy
    found = rendered(release(), ROLLOUTS, "monitoring: {kind: podMonitor}")
    keda = with_keda(ROLLOUTS, release())["ScaledObject", "fraud-stable"]
    assert max(wave(one) for one in [*found.values(), keda]) == wave(found["Rollout", "fraud-stable"])


def test_a_rollout_that_gets_nowhere_goes_back() -> None:
    spec = rollout()["spec"]
    startup = spec["template"]["spec"]["containers"][0]["startupProbe"]
    assert spec["progressDeadlineAbort"]
    assert spec["progressDeadlineSeconds"] > startup["periodSeconds"] * startup["failureThreshold"]
    assert spec["strategy"]["canary"]["maxUnavailable"] == 0


def test_a_rollback_skips_the_steps() -> None:
    spec = rollout()["spec"]
    assert 1 <= spec["rollbackWindow"]["revisions"] <= spec["revisionHistoryLimit"]


def test_a_canary_of_git_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        rendered(release(10), ROLLOUTS)
    assert str(caught.value) == (
        "fraud@2 takes 10 % of prod by git, where environments/prod.yaml now leaves the weights to Argo Rollouts: put"
        " the router back, finish that canary with --weight 100 or roll it back, and change the router then."
    )
