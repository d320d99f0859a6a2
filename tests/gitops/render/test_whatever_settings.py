"""Whatever people set, a release renders the same every time, and what it renders hangs together; or they are told."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gitops.release import Release, Runtime
from gitops.render import objects, render
from gitops.render.workload import KINDS
from gitops.routers import router_for
from registry.errors import InvalidInput
from tests.gitops.render.settings import ANY, written
from tests.gitops.routers.cases import ALL, deployed, environment, model, release

_FOLLOW = ("ConfigMap", "Deployment", "HorizontalPodAutoscaler")  # from settings, and Kubernetes has schemas of them
_RUNTIME = st.sampled_from(Runtime)
_VERSION = kubernetes_validate.latest_version()


def deployments(found: list[Any]) -> dict[str, Any]:
    """Pods that are to run, by the name of what runs them."""
    return {one["metadata"]["name"]: one for one in found if one["kind"] in ("Deployment", "Rollout")}


@settings(max_examples=50)
@given(
    ANY,
    st.sampled_from(Runtime),
    st.sampled_from(Runtime),
    st.sampled_from([None, 1, 99]),
    st.sampled_from(sorted(ALL)),
)
def test_it_renders_or_says_why_not(
    said: dict[str, Any], stable: Runtime, canary: Runtime, weight: int | None, router: str
) -> None:
    now = release(None if "rollouts" in router else weight, deployed(1, stable), deployed(2, canary, volume=True))
    place = environment(ALL[router])
    try:
        shape = model(written(said))
        files = render(now, shape, place)
    except InvalidInput as error:
        event("refused")
        # one sentence: what is wrong, and what to do
        if not re.fullmatch(r".+[:,] .+\.", str(error)):
            raise
        return
    assert files == render(Release.model_validate(now.model_dump()), model(written(said)), place)
    found = list(objects(now, shape, place))
    allowed = {*KINDS, *router_for(place).KINDS}
    for manifest in found:
        group = manifest["apiVersion"].rpartition("/")[0]
        assert (group, manifest["kind"]) in allowed
        if manifest["kind"] in _FOLLOW:
            kubernetes_validate.validate(manifest, _VERSION, strict=True)
    hangs_together(now, found)


def hangs_together(now: Release, found: list[Any]) -> None:
    running = deployments(found)
    for name, workload in running.items():
        pod = workload["spec"]["template"]["spec"]
        (server,) = pod["containers"]
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        assert volumes == {mount["name"] for mount in server.get("volumeMounts", ())}
        maps = {one["metadata"]["name"] for one in found if one["kind"] == "ConfigMap"}
        assert {volume["configMap"]["name"] for volume in pod.get("volumes", ()) if "configMap" in volume} <= maps
        (scaler,) = (one for one in found if one.get("spec", {}).get("scaleTargetRef", {}).get("name") == name)
        assert scaler["spec"]["scaleTargetRef"]["kind"] == workload["kind"]
        least = scaler["spec"].get("minReplicas", scaler["spec"].get("minReplicaCount"))
        assert least >= 1
        startup = server["startupProbe"]
        loads = startup["periodSeconds"] * startup["failureThreshold"]
        assert workload["spec"]["progressDeadlineSeconds"] > loads - startup["periodSeconds"]
    monitors = [one for one in found if one["kind"] == "PodMonitor"]
    for monitor in monitors:
        ports = {port["containerPort"] for one in running.values() for port in server_of(one)["ports"]}
        assert not running or {end["portNumber"] for end in monitor["spec"]["podMetricsEndpoints"]} <= ports
        assert monitor["metadata"]["labels"]["sluicegate.dev/model"] == now.model


def server_of(workload: Any) -> Any:
    return workload["spec"]["template"]["spec"]["containers"][0]
