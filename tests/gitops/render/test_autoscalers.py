"""By what a model is scaled, and that an autoscaler and whoever measures for it speak of the same things."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gitops.release import Runtime
from gitops.render.metrics import adapter_rules
from registry.errors import InvalidInput
from tests.gitops.routers.cases import ALL, deployed, release, rendered


def scaled(settings: str, runtime: Runtime = Runtime.TRITON, router: str = ALL["alb"]) -> dict[str, Any]:
    """What scales each role of a release with a canary, but for one under Argo Rollouts."""
    weight = None if "rollouts" in router else 10
    found = rendered(release(weight, deployed(1, runtime), deployed(2, runtime)), router, settings)
    kinds = ("HorizontalPodAutoscaler", "ScaledObject")
    return {name: one["spec"] for (kind, name), one in found.items() if kind in kinds}


def test_on_the_cpu_by_either() -> None:
    usual = scaled("")["fraud-stable"]["metrics"]
    assert usual == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    ]
    triggers = scaled("scaling: {via: keda, cpuUtilization: 55}")["fraud-stable"]["triggers"]
    assert triggers == [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "55"}}]


_MEASURED = [
    ("scaling: {metric: gpu, gpuUtilization: 60}", Runtime.TORCHSERVE, "DCGM_FI_DEV_GPU_UTIL", "60"),
    (
        "scaling: {metric: gpu}\nresources: {gpuResource: nvidia.com/mig-1g.5gb}",
        Runtime.TRITON,
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "70",
    ),
    ("scaling: {metric: queue, queueDepth: 3}", Runtime.TRITON, "nv_inference_queue_duration_us", "3"),
    ("scaling: {metric: queue}", Runtime.TORCHSERVE, "ts_queue_latency_microseconds", "1"),
]


@pytest.mark.parametrize(("settings", "runtime", "series", "aim"), _MEASURED)
def test_a_pods_metric_is_one_that_a_rule_makes_of_labels_that_are_there(
    settings: str, runtime: Runtime, series: str, aim: str
) -> None:
    for spec in scaled(settings, runtime).values():
        (metric,) = spec["metrics"]
        assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": aim}
        (rule,) = (rule for rule in adapter_rules() if rule["name"]["as"] == metric["pods"]["metric"]["name"])
        assert rule["seriesQuery"].startswith(f"{series}{{")
        of = {resource["resource"]: label for label, resource in rule["resources"]["overrides"].items()}
        # what dcgm-exporter says of a pod is moved aside, as its own pod's labels have those names already
        moved = "exported_" if series.startswith("DCGM") else ""
        assert of == {"namespace": f"{moved}namespace", "pod": f"{moved}pod"}
        assert all(f'{label}!=""' in rule["seriesQuery"] for label in of.values())
        asked = rule["metricsQuery"]
        assert "by (<<.GroupBy>>)" in asked
        assert "<<.Series>>{<<.LabelMatchers>>}" in asked


def test_rules_do_not_overlap() -> None:
    names = [rule["name"]["as"] for rule in adapter_rules()]
    series = [rule["seriesQuery"].split("{")[0] for rule in adapter_rules()]
    assert len(set(names)) == len(names) == len(set(series)) == 4


@pytest.mark.parametrize(("settings", "runtime", "series", "aim"), _MEASURED)
def test_keda_asks_for_the_pods_of_each_role_alone(settings: str, runtime: Runtime, series: str, aim: str) -> None:
    said = settings.replace("scaling: {", "monitoring: {prometheus: 'http://p:9090'}\nscaling: {via: keda, ")
    found = scaled(said, runtime)
    queries = {}
    for name, spec in found.items():
        (trigger,) = spec["triggers"]
        queries[name] = trigger["metadata"]["query"]
        assert trigger["metricType"] == "AverageValue"
        assert trigger["metadata"]["threshold"] == aim
        assert trigger["metadata"]["serverAddress"] == "http://p:9090"
        # else no answer would count as nothing to do, and take replicas away
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert series in queries[name]
        assert 'namespace="models"' in queries[name]
        assert queries[name].count("(") == queries[name].count(")")
        assert queries[name].count("{") == queries[name].count("}")
    assert queries["fraud-stable"] != queries["fraud-canary"]


def pods_of(role: str, model: str = "fraud") -> re.Pattern[str]:
    """The pattern in the query for a role, which Prometheus matches against whole names."""
    said = "scaling: {via: keda, metric: gpu}"
    found = rendered(release(10, deployed(1), deployed(2), model), ALL["alb"], said)
    query = found["ScaledObject", f"{model}-{role}"]["spec"]["triggers"][0]["metadata"]["query"]
    (pattern,) = re.findall(r'pod=~"([^"]+)"', query)
    return re.compile(pattern)


def test_a_pods_name_tells_its_role() -> None:
    stable, canary = pods_of("stable"), pods_of("canary")
    assert stable.fullmatch("fraud-stable-6d4f9b7c8-x2v5k")
    assert stable.fullmatch("fraud-predictor-6d4f9b7c8-x2v5k")  # as KServe calls it
    assert canary.fullmatch("fraud-canary-6d4f9b7c8-x2v5k")
    for other in (
        "fraud-canary-6d4f9b7c8-x2v5k",
        "fraud-canary-predictor-6d4f9b7c8-x2v5k",
        "fraud-stable-canary-6d4f9b7c8-x2v5k",  # of a model called fraud-stable
        "fraud-stable-stable-6d4f9b7c8-x2v5k",
        "fraud-stable-stable-6d4f9b7c8x2v5k",
        "big-fraud-stable-6d4f9b7c8-x2v5k",
        "fraud-stable",
    ):
        assert not stable.fullmatch(other)
    assert not canary.fullmatch("fraud-stable-6d4f9b7c8-x2v5k")
    # a pod's name is cut after 58 characters and five more are put behind (apiserver, pkg/storage/names)
    longest = "m" * 40
    assert pods_of("canary", longest).fullmatch(f"{longest}-canary-{'6d4f9b7c8d'}-"[:58] + "x2v5k")


def test_a_server_that_does_not_tell_is_refused() -> None:
    with pytest.raises(
        InvalidInput,
        match=r"scaling\.metric of fraud is queue in prod, but version 1 runs on TensorFlow Serving, which does not"
        r" tell how many requests wait: write gpu or cpu into models/fraud/model\.yaml\.",
    ):
        scaled("scaling: {metric: queue}", Runtime.TENSORFLOW_SERVING)


@pytest.mark.parametrize("via", ["hpa", "keda"])
def test_stable_and_canary_scale_apart(via: str) -> None:
    found = scaled(f"scaling: {{via: {via}, metric: gpu, min: 3, max: 9}}")
    names = ("minReplicas", "maxReplicas") if via == "hpa" else ("minReplicaCount", "maxReplicaCount")
    assert {name: tuple(spec[bound] for bound in names) for name, spec in found.items()} == {
        "fraud-stable": (3, 9),
        "fraud-canary": (1, 9),
    }


@pytest.mark.parametrize("via", ["hpa", "keda"])
@pytest.mark.parametrize(
    ("router", "target"),
    [
        ("alb", ("apps/v1", "Deployment", "fraud-stable")),
        ("rollouts", ("argoproj.io/v1alpha1", "Rollout", "fraud-stable")),
        ("kserve", ("apps/v1", "Deployment", "fraud-predictor")),
    ],
)
def test_what_is_scaled_is_what_the_router_runs(via: str, router: str, target: tuple[str, str, str]) -> None:
    spec = scaled(f"scaling: {{via: {via}, metric: queue}}", router=ALL[router])["fraud-stable"]
    assert tuple(spec["scaleTargetRef"][part] for part in ("apiVersion", "kind", "name")) == target


def test_keda_takes_over_the_autoscaler_that_was_there() -> None:
    before = rendered(release(), ALL["alb"], "")
    after = rendered(release(), ALL["alb"], "scaling: {via: keda}")
    assert ("HorizontalPodAutoscaler", "fraud-stable") in before
    assert ("HorizontalPodAutoscaler", "fraud-stable") not in after
    found = after["ScaledObject", "fraud-stable"]
    assert found["metadata"]["annotations"]["scaledobject.keda.sh/transfer-hpa-ownership"] == "true"
    assert found["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"] == "fraud-stable"


def test_how_soon_there_are_fewer() -> None:
    fewer = {"scaleDown": {"stabilizationWindowSeconds": 60}}
    assert "behavior" not in scaled("")["fraud-stable"]
    assert scaled("scaling: {scaleDownSeconds: 60}")["fraud-stable"]["behavior"] == fewer
    made = scaled("scaling: {scaleDownSeconds: 60, via: keda}")["fraud-stable"]["advanced"]
    assert made["horizontalPodAutoscalerConfig"]["behavior"] == fewer
