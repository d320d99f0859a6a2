"""Whatever a release can become, what is rendered of it holds together, and Kubernetes' own schemas take it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.config import Environment, Model, default_model_file, parse_environment, parse_model
from gitops.release import Canary, Deployed, Release, Runtime, advance
from gitops.render import render
from gitops.runtimes import MODEL_ROOT, RUNTIMES
from gitops.state import parse_release
from registry.errors import Conflict, InvalidInput

_FOLDER = "models/fraud/prod"
_HTTPS = "router: {certificateArn: 'arn:aws:acm:eu-west-1:123456789012:certificate/1-2', group: shared}"


def environment(router: str = "") -> Environment:
    text = f"name: prod\nnamespace: models\ndomain: models.example.com\n{router}"
    return parse_environment(text.encode(), "environments/prod.yaml")


def model(settings: str = "") -> Model:
    return parse_model(f"name: fraud\n{settings}".encode(), "models/fraud/model.yaml")


def deployed(version: int, runtime: Runtime = Runtime.TORCHSERVE, *, volume: bool = False) -> Deployed:
    image = f"registry.example/models/fraud@sha256:{version:064x}"
    if volume:
        server = f"registry.example/servers/{runtime.value}@sha256:{'5' * 64}"
        return Deployed(version=version, image=server, runtime=runtime, volume=image)
    return Deployed(version=version, image=image, runtime=runtime)


def release(canary: int | None = None, runtime: Runtime = Runtime.TORCHSERVE, *, volume: bool = False) -> Release:
    trial = Canary(**deployed(2, runtime, volume=volume).model_dump(), weight=canary) if canary else None
    return Release(model="fraud", environment="prod", stable=deployed(1, runtime, volume=volume), canary=trial)


def manifests(files: Mapping[str, bytes]) -> dict[str, Any]:
    """File name to object, but for kustomization.yaml and release.yaml."""
    documents = {
        PurePosixPath(path).name: yaml.safe_load(data) for path, data in files.items() if "/manifests/" in path
    }
    del documents["kustomization.yaml"]
    return documents


def rendered(
    canary: int | None = None,
    runtime: Runtime = Runtime.TORCHSERVE,
    settings: str = "",
    router: str = "",
    *,
    volume: bool = False,
) -> dict[str, Any]:
    return manifests(render(release(canary, runtime, volume=volume), model(settings), environment(router)))


def container(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["template"]["spec"]["containers"][0]


def mounted_images(manifest: Mapping[str, Any]) -> dict[str, str]:
    """By path in the server's container, the images that are mounted there; every mount has its volume."""
    volumes = {volume["name"]: volume for volume in manifest["spec"]["template"]["spec"].get("volumes", [])}
    mounts = {mount["mountPath"]: mount["name"] for mount in container(manifest).get("volumeMounts", [])}
    assert sorted(mounts.values()) == sorted(volumes)
    return {path: volumes[name]["image"]["reference"] for path, name in mounts.items() if "image" in volumes[name]}


def weights(ingress: Mapping[str, Any]) -> dict[str, int]:
    action = json.loads(ingress["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.weights"])
    assert action["type"] == "forward"
    return {group["serviceName"]: group["weight"] for group in action["forwardConfig"]["targetGroups"]}


def selects(selector: Mapping[str, str], manifest: Mapping[str, Any]) -> bool:
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    return selector.items() <= labels.items()


_step = st.one_of(
    st.none(),  # a canary that is taken back
    st.tuples(st.integers(1, 4), st.one_of(st.integers(1, 99), st.just(100)), st.sampled_from(Runtime), st.booleans()),
)


def reached(steps: list[tuple[int, int, Runtime, bool] | None]) -> Iterator[Release]:
    """Every release on the way, from nothing."""
    current: Release | None = None
    for step in steps:
        if step is None:
            current = current and current.model_copy(update={"canary": None})
        else:
            version, weight, runtime, volume = step
            try:
                current = advance(current, "fraud", "prod", deployed(version, runtime, volume=volume), weight)
            except (Conflict, InvalidInput):
                continue
        if current:
            yield current


@settings(max_examples=60)
@given(st.lists(_step, min_size=1, max_size=5), st.sampled_from(["", _HTTPS]), st.integers(0, 2))
def test_every_release_that_can_be_reached(
    steps: list[tuple[int, int, Runtime, bool] | None], router: str, gpu: int
) -> None:
    shape, place = model(f"resources: {{gpu: {gpu}}}"), environment(router)
    for now in reached(steps):
        files = render(now, shape, place)
        assert files == render(Release.model_validate(now.model_dump()), shape, place)
        assert parse_release(files[f"{_FOLDER}/release.yaml"], f"{_FOLDER}/release.yaml") == now
        holds_together(now, manifests(files))
        listed = yaml.safe_load(files[f"{_FOLDER}/manifests/kustomization.yaml"])
        assert sorted(listed["resources"]) == sorted(manifests(files))
        assert listed["namespace"] == "models"


def holds_together(now: Release, found: Mapping[str, Any]) -> None:
    deployments = {name: found[name] for name in found if name.startswith("deployment-")}
    services = {found[name]["metadata"]["name"]: found[name] for name in found if name.startswith("service-")}
    split = weights(found["ingress.yaml"])
    assert sum(split.values()) == 100
    assert split == {
        "fraud-stable": 100 - split["fraud-canary"],
        "fraud-canary": now.canary.weight if now.canary else 0,
    }
    assert set(services) == set(split) == {"fraud-stable", "fraud-canary"}
    assert set(deployments) == {"deployment-stable.yaml"} | ({"deployment-canary.yaml"} if now.canary else set())
    for name, service in services.items():
        taken = [other for other in deployments.values() if selects(service["spec"]["selector"], other)]
        runs = name == "fraud-stable" or now.canary
        assert [other["metadata"]["name"] for other in taken] == ([name] if runs else [])
        # where a rule sends traffic, there are pods to take it
        assert bool(taken) or split[name] == 0
    for role, wanted in (("stable", now.stable), ("canary", now.canary)):
        if wanted:
            deployment, scaler = deployments[f"deployment-{role}.yaml"], found[f"horizontalpodautoscaler-{role}.yaml"]
            assert selects(deployment["spec"]["selector"]["matchLabels"], deployment)
            assert container(deployment)["image"] == wanted.image
            assert mounted_images(deployment) == ({"/srv/sluice": wanted.volume} if wanted.volume else {})
            assert deployment["metadata"]["labels"]["app.kubernetes.io/version"] == str(wanted.version)
            assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
            ports = {port["name"] for port in container(deployment)["ports"]}
            assert services[f"fraud-{role}"]["spec"]["ports"][0]["targetPort"] in ports


@pytest.mark.parametrize("runtime", Runtime)
@pytest.mark.parametrize("canary", [None, 10])
@pytest.mark.parametrize("router", ["", _HTTPS])
@pytest.mark.parametrize("gpu", [0, 1])
@pytest.mark.parametrize("volume", [False, True])
def test_kubernetes_takes_every_object(
    runtime: Runtime, canary: int | None, router: str, gpu: int, volume: bool
) -> None:
    for manifest in rendered(canary, runtime, f"resources: {{gpu: {gpu}}}", router, volume=volume).values():
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_schemas_would_tell() -> None:
    service = rendered()["service-stable.yaml"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {**service, "spec": {**service["spec"], "selectr": {}}}, kubernetes_validate.latest_version(), strict=True
        )
    deployment = rendered(volume=True)["deployment-stable.yaml"]
    (mounted,) = deployment["spec"]["template"]["spec"]["volumes"]
    mounted["image"]["refrence"] = mounted["image"].pop("reference")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)


def test_services_and_selectors_never_change_between_releases() -> None:
    # a Deployment's selector is immutable, and a Service that lost its pods would lose its traffic
    before, after = rendered(), rendered(canary=50)
    for name in ("service-stable.yaml", "service-canary.yaml", "serviceaccount.yaml"):
        assert before[name] == after[name]
    promoted = Release(model="fraud", environment="prod", stable=deployed(9))
    next_one = manifests(render(promoted, model(), environment()))["deployment-stable.yaml"]
    assert next_one["spec"]["selector"] == before["deployment-stable.yaml"]["spec"]["selector"]
    assert next_one["metadata"]["labels"]["app.kubernetes.io/version"] == "9"
    assert not any("version" in label for label in next_one["spec"]["selector"]["matchLabels"])


def test_a_step_changes_the_release_and_the_rule_alone() -> None:
    before = render(release(canary=10), model(), environment())
    after = render(release(canary=50), model(), environment())
    changed = {path.removeprefix(f"{_FOLDER}/") for path in before if before[path] != after[path]}
    assert before.keys() == after.keys()
    assert changed == {"release.yaml", "manifests/ingress.yaml"}


def test_waves() -> None:
    waves = {
        name: int(m["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for name, m in rendered(canary=10).items()
    }
    assert waves["serviceaccount.yaml"] < waves["deployment-stable.yaml"]
    assert max(waves["service-stable.yaml"], waves["service-canary.yaml"]) < waves["deployment-canary.yaml"]
    assert max(waves["deployment-stable.yaml"], waves["deployment-canary.yaml"]) < waves["ingress.yaml"]
    # an autoscaler without metrics yet is degraded, and would stop the sync before the rule
    assert waves["horizontalpodautoscaler-canary.yaml"] >= waves["ingress.yaml"]


@pytest.mark.parametrize("runtime", Runtime)
def test_pods_are_locked_down(runtime: Runtime) -> None:
    for role in ("stable", "canary"):
        manifest = rendered(canary=10, runtime=runtime)[f"deployment-{role}.yaml"]
        pod, server = manifest["spec"]["template"]["spec"], container(manifest)
        # what the `restricted` Pod Security Standard asks for
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not server["securityContext"]["allowPrivilegeEscalation"]
        assert server["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not pod["automountServiceAccountToken"]
        assert "env" not in server
        assert "initContainers" not in pod
        assert server["securityContext"]["readOnlyRootFilesystem"] == (runtime is not Runtime.TORCHSERVE)
        assert "replicas" not in manifest["spec"]


def test_torchserve_is_ready_when_its_model_is() -> None:
    server = container(rendered()["deployment-stable.yaml"])
    for probe in ("startupProbe", "readinessProbe"):
        command = server[probe]["exec"]["command"]
        assert command[:2] == ["python3", "-c"]
        assert "/models/fraud" in command[2]
        assert server[probe]["timeoutSeconds"] > 4  # the script waits 4 seconds itself
    assert server["livenessProbe"]["httpGet"] == {"path": "/ping", "port": "http"}
    assert {port["name"]: port["containerPort"] for port in server["ports"]} == {"http": 8080, "metrics": 8082}


def test_tensorflow_serving_is_ready_when_its_port_is_open() -> None:
    found = rendered(runtime=Runtime.TENSORFLOW_SERVING)
    server = container(found["deployment-stable.yaml"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"] == {"path": "/v1/models/fraud", "port": "http"}
    assert {port["name"]: port["containerPort"] for port in server["ports"]} == {"http": 8501, "grpc": 8500}
    assert {"name": "tmp", "mountPath": "/tmp"} in server["volumeMounts"]


def test_triton_is_ready_when_its_model_is_and_has_memory_to_share() -> None:
    manifest = rendered(runtime=Runtime.TRITON)["deployment-stable.yaml"]
    server = container(manifest)
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["httpGet"] == {"path": "/v2/models/fraud/ready", "port": "http"}
    assert server["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": "http"}
    assert {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]} == {"/tmp": "tmp", "/dev/shm": "shm"}
    assert {volume["name"]: volume["emptyDir"] for volume in manifest["spec"]["template"]["spec"]["volumes"]} == {
        "tmp": {"sizeLimit": "1Gi"},
        "shm": {"medium": "Memory", "sizeLimit": "1Gi"},
    }


@pytest.mark.parametrize("runtime", Runtime)
def test_a_volume_is_mounted_where_an_image_would_have_the_model(runtime: Runtime) -> None:
    before, after = (rendered(runtime=runtime, volume=volume)["deployment-stable.yaml"] for volume in (False, True))
    server, whole = container(after), container(before)
    spec = RUNTIMES[runtime]
    # the server's image starts something of its own: what an image of ours says in its config is said here
    assert (server["command"], server["workingDir"]) == (list(spec.command("fraud")), spec.working_dir)
    assert any(MODEL_ROOT in argument for argument in server["command"])
    assert mounted_images(after) == {MODEL_ROOT: deployed(1, volume=True).volume}
    (mount,) = (mount for mount in server["volumeMounts"] if mount["name"] == "model")
    assert mount["readOnly"]
    # all else is as it is without
    for added in ("command", "workingDir"):
        del server[added]
    server["image"] = whole["image"]
    server["volumeMounts"].remove(mount)
    volumes = after["spec"]["template"]["spec"]["volumes"]
    volumes.remove({"name": "model", "image": {"reference": whole["image"], "pullPolicy": "IfNotPresent"}})
    if not volumes:
        del server["volumeMounts"], after["spec"]["template"]["spec"]["volumes"]
    assert after == before


def test_a_release_without_a_volume_says_nothing_of_one() -> None:
    files = render(release(canary=10), model(), environment())
    assert not [path for path, data in files.items() if b"volume" in data]
    named = render(release(canary=10, volume=True), model(), environment())[f"{_FOLDER}/release.yaml"]
    assert parse_release(named, f"{_FOLDER}/release.yaml") == release(canary=10, volume=True)


@pytest.mark.parametrize("runtime", Runtime)
def test_a_server_that_still_loads_is_left_alone(runtime: Runtime) -> None:
    manifest = rendered(runtime=runtime)["deployment-stable.yaml"]
    startup = container(manifest)["startupProbe"]
    loads = startup["periodSeconds"] * startup["failureThreshold"]
    assert loads >= 600
    assert manifest["spec"]["progressDeadlineSeconds"] > loads


def test_a_pod_leaves_after_the_load_balancer_let_go() -> None:
    found = rendered()
    delay = found["service-stable.yaml"]["metadata"]["annotations"]["alb.ingress.kubernetes.io/target-group-attributes"]
    sleep = container(found["deployment-stable.yaml"])["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = found["deployment-stable.yaml"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert int(delay.removeprefix("deregistration_delay.timeout_seconds=")) < sleep < grace


def test_gpus() -> None:
    with_gpu, without = rendered(settings="resources: {gpu: 2}"), rendered(settings="resources: {gpu: 0}")
    resources = container(with_gpu["deployment-stable.yaml"])["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "2"
    pod = with_gpu["deployment-stable.yaml"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"sluicegate.dev/pool": "gpu"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "nvidia" not in json.dumps(without)


def test_scaling() -> None:
    found = rendered(canary=10, settings="environments: {prod: {scaling: {min: 3, max: 9, cpuUtilization: 55}}}")
    stable, canary = (found[f"horizontalpodautoscaler-{role}.yaml"]["spec"] for role in ("stable", "canary"))
    assert (stable["minReplicas"], stable["maxReplicas"]) == (3, 9)
    assert (canary["minReplicas"], canary["maxReplicas"]) == (1, 9)
    assert stable["metrics"][0]["resource"]["target"]["averageUtilization"] == 55


def test_the_load_balancer_asks_each_server_in_its_own_way() -> None:
    mixed = Release(
        model="fraud",
        environment="prod",
        stable=deployed(1),
        canary=Canary(**deployed(2, Runtime.TENSORFLOW_SERVING).model_dump(), weight=1),
    )
    found = manifests(render(mixed, model(), environment()))
    paths = [
        found[f"service-{role}.yaml"]["metadata"]["annotations"]["alb.ingress.kubernetes.io/healthcheck-path"]
        for role in ("stable", "canary")
    ]
    assert paths == ["/ping", "/v1/models/fraud"]


def test_the_ingress_follows_its_environment() -> None:
    plain, https = rendered()["ingress.yaml"], rendered(router=_HTTPS)["ingress.yaml"]
    assert plain["spec"]["rules"][0]["host"] == "fraud.models.example.com"
    assert plain["spec"]["ingressClassName"] == "alb"
    found = {key.partition("/")[2]: value for key, value in https["metadata"]["annotations"].items()}
    assert json.loads(found["listen-ports"]) == [{"HTTP": 80}, {"HTTPS": 443}]
    assert (found["ssl-redirect"], found["group.name"], found["scheme"]) == ("443", "shared", "internal")
    assert found["certificate-arn"].startswith("arn:aws:acm:")
    assert "kubernetes.io/ingress.class" not in https["metadata"]["annotations"]
    backend = https["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["port"]["name"] == "use-annotation"
    assert f"actions.{backend['name']}" in found


def test_names_of_the_greatest_length_fit() -> None:
    longest, place = "m" * 40, "e" * 40
    release = Release(
        model=longest, environment=place, stable=deployed(1), canary=Canary(**deployed(2).model_dump(), weight=1)
    )
    settings = parse_model(default_model_file(longest), f"models/{longest}/model.yaml")
    text = f"name: {place}\nnamespace: models\ndomain: models.example.com"
    found = manifests(render(release, settings, parse_environment(text.encode(), f"environments/{place}.yaml")))
    for manifest in found.values():
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
        assert len(manifest["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())


def test_settings_of_something_else_are_refused() -> None:
    other = parse_model(b"name: spam", "models/spam/model.yaml")
    with pytest.raises(InvalidInput, match="release is of fraud in prod, but the settings are of spam in prod"):
        render(release(), other, environment())
