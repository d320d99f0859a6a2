"""What people's settings make of the pods: GPUs, nodes, the server's environment and files."""

from __future__ import annotations

from typing import Any

import pytest

from gitops.release import Runtime
from gitops.runtimes import RUNTIMES
from tests.gitops.routers.cases import ALL, deployed, release, rendered


def pods(settings: str, runtime: Runtime = Runtime.TRITON, *, volume: bool = False) -> dict[str, Any]:
    """The pods' spec by role, with their annotations."""
    now = release(10, deployed(1, runtime, volume=volume), deployed(2, runtime, volume=volume))
    found = rendered(now, ALL["alb"], settings)
    templates = {role: found["Deployment", f"fraud-{role}"]["spec"]["template"] for role in ("stable", "canary")}
    return {role: {**one["spec"], "annotations": one["metadata"].get("annotations")} for role, one in templates.items()}


def server(settings: str, runtime: Runtime = Runtime.TRITON, *, volume: bool = False) -> dict[str, Any]:
    (found,) = pods(settings, runtime, volume=volume)["stable"]["containers"]
    assert isinstance(found, dict)
    return found


_GPU = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
_SPOT = {"key": "sluicegate.dev/spot", "operator": "Exists", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("spot", "where"),
    [
        ("never", {"stable": "gpu", "canary": "gpu"}),
        ("canary", {"stable": "gpu", "canary": "gpu-spot"}),
        ("always", {"stable": "gpu-spot", "canary": "gpu-spot"}),
    ],
)
def test_spot_is_one_setting(spot: str, where: dict[str, str]) -> None:
    found = pods(f"node: {{spot: {spot}}}")
    assert {role: pod["nodeSelector"]["sluicegate.dev/pool"] for role, pod in found.items()} == where
    for role, pod in found.items():
        assert pod["tolerations"] == ([_GPU, _SPOT] if where[role] == "gpu-spot" else [_GPU])


def test_own_tolerations_do_not_keep_a_pod_off_spot() -> None:
    found = pods("node: {spot: canary, tolerations: [{key: own, operator: Exists}]}")
    assert [one["key"] for one in found["canary"]["tolerations"]] == ["own", "sluicegate.dev/spot"]
    assert [one["key"] for one in found["stable"]["tolerations"]] == ["own"]


def test_without_a_gpu_there_is_no_spot_pool() -> None:
    assert "nodeSelector" not in pods("resources: {gpu: 0}\nnode: {spot: always}")["canary"]


@pytest.mark.parametrize("name", ["nvidia.com/gpu.shared", "nvidia.com/mig-1g.5gb"])
def test_parts_of_gpus(name: str) -> None:
    resources = server(f"resources: {{gpuResource: {name}}}")["resources"]
    assert resources["limits"][name] == resources["requests"][name] == "1"
    assert "nvidia.com/gpu" not in {**resources["limits"], **resources["requests"]}


def test_replicas_are_spread_as_far_as_there_is_room() -> None:
    for said, keys in (
        ("", ["topology.kubernetes.io/zone"]),
        ("node: {spread: [host, zone]}", ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]),
        ("node: {spread: []}", []),
    ):
        found = pods(said)["canary"].get("topologySpreadConstraints", [])
        assert [one["topologyKey"] for one in found] == keys
        assert {one["whenUnsatisfiable"] for one in found} <= {"ScheduleAnyway"}
        assert all(one["labelSelector"]["matchLabels"]["sluicegate.dev/role"] == "canary" for one in found)


def test_the_environment_comes_as_it_was_written() -> None:
    # Kubernetes would put another variable in the place of $(A), and take $$ for one dollar
    found = server("server: {env: {B: '$(A) costs $$5', A: 4}}")["env"]
    assert found == [{"name": "A", "value": "4"}, {"name": "B", "value": "$$(A) costs $$$$5"}]


@pytest.mark.parametrize(("seconds", "tries"), [(60, 6), (61, 7), (3600, 360)])
def test_a_slow_model_gets_its_time(seconds: int, tries: int) -> None:
    settings = f"server: {{startupSeconds: {seconds}}}"
    assert server(settings)["startupProbe"]["failureThreshold"] == tries
    found = rendered(release(), ALL["alb"], settings)["Deployment", "fraud-stable"]
    assert found["spec"]["progressDeadlineSeconds"] == seconds + 600


@pytest.mark.parametrize("runtime", Runtime)
def test_metrics_are_where_the_annotations_say(runtime: Runtime) -> None:
    spec = RUNTIMES[runtime]
    assert pods("", runtime)["stable"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(spec.ports[spec.metrics.port]),
        "prometheus.io/path": spec.metrics.path,
    }
    for kind in ("podMonitor", "none"):
        assert pods(f"monitoring: {{kind: {kind}}}", runtime)["stable"]["annotations"] is None


def configured(settings: str, *, volume: bool = False) -> tuple[list[str], dict[str, str]]:
    """TensorFlow Serving's further arguments, and the files that are mounted for it, by their paths."""
    now = release(None, deployed(1, Runtime.TENSORFLOW_SERVING, volume=volume))
    found = rendered(now, ALL["alb"], settings)
    pod = found["Deployment", "fraud-stable"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    files = {}
    for volume_ in pod["volumes"]:
        if "configMap" in volume_:
            (root,) = (m["mountPath"] for m in container["volumeMounts"] if m["name"] == volume_["name"])
            data = found["ConfigMap", volume_["configMap"]["name"]]["data"]
            files |= {f"{root}/{name}": text for name, text in data.items()}
    return container.get("args", []), files


@pytest.mark.parametrize("volume", [False, True])
def test_tensorflow_serving_is_told_of_prometheus_and_of_batches(volume: bool) -> None:
    arguments, files = configured(
        "tensorflowServing: {batching: {maxBatchSize: 16, allowedBatchSizes: [4, 16]}}", volume=volume
    )
    named = dict(argument.split("=") for argument in arguments if "=" in argument)
    assert "--enable_batching" in arguments
    assert set(named.values()) == set(files)
    assert files[named["--batching_parameters_file"]] == (
        "max_batch_size { value: 16 }\nbatch_timeout_micros { value: 1000 }\nmax_enqueued_batches { value: 100 }\n"
        "num_batch_threads { value: 4 }\nallowed_batch_sizes: 4\nallowed_batch_sizes: 16\n"
    )
    path = RUNTIMES[Runtime.TENSORFLOW_SERVING].metrics.path
    assert files[named["--monitoring_config_file"]] == f'prometheus_config {{\n  enable: true\n  path: "{path}"\n}}\n'


def test_nothing_is_mounted_for_nothing() -> None:
    assert configured("monitoring: {kind: none}") == ([], {})
    for runtime in (Runtime.TORCHSERVE, Runtime.TRITON):
        assert "args" not in server("tensorflowServing: {batching: {}}", runtime)


def test_other_files_have_another_name_and_come_before_the_pods() -> None:
    now = release(None, deployed(1, Runtime.TENSORFLOW_SERVING))
    found = [rendered(now, ALL["alb"], f"tensorflowServing: {{batching: {{maxBatchSize: {n}}}}}") for n in (8, 9, 8)]
    names = [name for one in found for kind, name in one if kind == "ConfigMap"]
    assert names[0] == names[2] != names[1]
    order = [kind for kind, _ in found[0]]
    assert order.index("ConfigMap") < order.index("Deployment")
