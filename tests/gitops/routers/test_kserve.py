"""An InferenceService, with the weight in git.

The fields are checked against those of KServe's own CRD (v0.20, pkg/apis/serving/v1beta1: component.go, podspec.go and
the CanarySpec of pull request 5672), of which no schema is at hand here.
"""

from __future__ import annotations

from typing import Any

import pytest

from gitops.release import Runtime
from tests.gitops.routers.cases import KSERVE, deployed, release, rendered, wave, with_keda

_POD = {
    "serviceAccountName",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "terminationGracePeriodSeconds",
    "securityContext",
    "topologySpreadConstraints",
    "nodeSelector",
    "tolerations",
    "containers",
    "volumes",
    "initContainers",
    "affinity",
    "schedulerName",
    "priorityClassName",
    "runtimeClassName",
    "shareProcessNamespace",
}
_COMPONENT = {"name", "minReplicas", "labels", "annotations", "deploymentStrategy"}
_SCALES = {"maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"}


def service(weight: int | None = None, settings: str = "", **options: Any) -> Any:
    return rendered(release(weight, **options), KSERVE, settings)["InferenceService", "fraud"]


def conforms(manifest: Any) -> None:
    """What KServe's CRD and its webhook take."""
    assert manifest["apiVersion"] == "serving.kserve.io/v1beta1"
    assert manifest["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert set(manifest["spec"]) <= {"predictor", "canary"}
    stable, trials = manifest["spec"]["predictor"], manifest["spec"].get("canary", [])
    assert set(stable) <= {*_POD, *_COMPONENT, "maxReplicas"}
    assert stable["minReplicas"] <= stable["maxReplicas"]
    for trial in trials:
        assert set(trial) == {"predictor", "trafficPercent"}
        assert set(trial["predictor"]) <= _POD | _COMPONENT
        assert not set(trial["predictor"]) & _SCALES
    assert "name" not in stable
    assert [trial["predictor"]["name"] for trial in trials] == ["canary"][: len(trials)]
    assert sum(trial["trafficPercent"] for trial in trials) <= 100


@pytest.mark.parametrize("runtime", Runtime)
@pytest.mark.parametrize("weight", [None, 1, 99])
@pytest.mark.parametrize("volume", [False, True])
def test_kserve_takes_it(runtime: Runtime, weight: int | None, volume: bool) -> None:
    conforms(service(weight, stable=deployed(1, runtime, volume=volume), trial=deployed(2, runtime, volume=volume)))


def test_both_versions_and_the_weight_are_in_the_object() -> None:
    found = service(25)
    (canary,) = found["spec"]["canary"]
    assert canary["trafficPercent"] == 25
    images = [found["spec"]["predictor"], canary["predictor"]]
    assert [spec["containers"][0]["image"] for spec in images] == [deployed(1).image, deployed(2).image]
    assert {spec["containers"][0]["name"] for spec in images} == {"kserve-container"}


def test_a_version_that_takes_over_is_a_rolling_update() -> None:
    # of a Deployment that KServe names after the predictor: no name may come or go with a version
    before, after = service()["spec"]["predictor"], service(stable=deployed(2))["spec"]["predictor"]
    assert before["deploymentStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }
    assert {key for key in before if before[key] != after[key]} == {"containers", "labels"}


@pytest.mark.parametrize(("weight", "most", "replicas"), [(1, 4, 1), (25, 4, 1), (26, 4, 2), (99, 4, 4), (50, 9, 5)])
def test_a_canary_has_enough_replicas_for_its_share(weight: int, most: int, replicas: int) -> None:
    (canary,) = service(weight, f"scaling: {{min: 1, max: {most}}}")["spec"]["canary"]
    assert canary["predictor"]["minReplicas"] == replicas


def test_the_autoscaler_is_ours_and_scales_the_stable_version_alone() -> None:
    found = rendered(release(25), KSERVE, "scaling: {min: 2, max: 5}")
    annotations = found["InferenceService", "fraud"]["metadata"]["annotations"]
    assert annotations["serving.kserve.io/autoscalerClass"] == "external"
    assert ("HorizontalPodAutoscaler", "fraud-canary") not in found
    scaler = found["HorizontalPodAutoscaler", "fraud-stable"]
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "fraud-predictor",
    }
    # KServe makes that Deployment
    assert wave(scaler) > wave(found["InferenceService", "fraud"])


def test_keda_scales_the_stable_version_too() -> None:
    found = with_keda(KSERVE, release(50))
    spec = found["InferenceService", "fraud"]["spec"]
    assert (spec["predictor"]["minReplicas"], spec["predictor"]["maxReplicas"]) == (2, 6)
    assert spec["canary"][0]["predictor"]["minReplicas"] == 3
    assert ("ScaledObject", "fraud-canary") not in found
    target = found["ScaledObject", "fraud-stable"]["spec"]["scaleTargetRef"]
    assert target == {"name": "fraud-predictor", "apiVersion": "apps/v1", "kind": "Deployment"}


def test_no_default_limit_is_below_what_is_requested() -> None:
    # KServe's webhook gives a container without one the limit of its configuration, a single CPU
    spec = service(25, "resources: {cpu: 6}")["spec"]
    for predictor in (spec["predictor"], spec["canary"][0]["predictor"]):
        resources = predictor["containers"][0]["resources"]
        assert resources["limits"]["cpu"] == resources["requests"]["cpu"] == "6"
        assert {"memory", "nvidia.com/gpu"} <= set(resources["limits"])


def test_disruption_budgets_are_of_one_role() -> None:
    found = rendered(release(25), KSERVE)
    (canary,) = found["InferenceService", "fraud"]["spec"]["canary"]
    pods = {"stable": found["InferenceService", "fraud"]["spec"]["predictor"], "canary": canary["predictor"]}
    for role, other in (("stable", "canary"), ("canary", "stable")):
        chosen = found["PodDisruptionBudget", f"fraud-{role}"]["spec"]["selector"]["matchLabels"]
        assert chosen.items() <= pods[role]["labels"].items()
        assert not chosen.items() <= pods[other]["labels"].items()
        for constraint in pods[role]["topologySpreadConstraints"]:
            assert constraint["labelSelector"]["matchLabels"] == chosen


def test_the_image_volume_is_mounted() -> None:
    whole = deployed(1, volume=True)
    predictor = service(stable=whole)["spec"]["predictor"]
    (volume,) = (each for each in predictor["volumes"] if each["name"] == "model")
    assert volume["image"]["reference"] == whole.volume
    assert predictor["containers"][0]["image"] == whole.image
