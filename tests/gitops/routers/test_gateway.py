"""A route of the Gateway API, with the weights in git."""

from __future__ import annotations

from typing import Any

import pytest

from gitops.config import Environment
from gitops.release import Runtime
from gitops.render import objects
from registry.errors import InvalidInput
from tests.gitops.routers.cases import FULL_GATEWAY, GATEWAY, deployed, environment, model, release, rendered, wave


def route(router: str, weight: int | None = None) -> Any:
    return rendered(release(weight), router)["HTTPRoute", "fraud"]


def test_the_least_that_people_say() -> None:
    found = route(GATEWAY)
    assert found["spec"]["parentRefs"] == [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"}]
    assert found["spec"]["hostnames"] == ["fraud.models.example.com"]
    (rule,) = found["spec"]["rules"]
    assert "filters" not in rule


@pytest.mark.parametrize(("weight", "split"), [(None, [100, 0]), (1, [99, 1]), (99, [1, 99])])
def test_both_backends_are_named_and_add_to_100(weight: int | None, split: list[int]) -> None:
    # a backend without traffic has weight 0: left out, it would be 1
    (rule,) = route(GATEWAY, weight)["spec"]["rules"]
    assert rule["backendRefs"] == [
        {"group": "", "kind": "Service", "name": "fraud-stable", "port": 80, "weight": split[0]},
        {"group": "", "kind": "Service", "name": "fraud-canary", "port": 80, "weight": split[1]},
    ]


def test_all_that_people_can_say() -> None:
    found = rendered(release(10), FULL_GATEWAY)
    spec = found["HTTPRoute", "fraud"]["spec"]
    (parent,) = spec["parentRefs"]
    assert (parent["name"], parent["namespace"], parent["sectionName"]) == ("public", "gateways", "https")
    (named,) = (rule["extensionRef"] for rule in spec["rules"][0]["filters"])
    sticky = found[named["kind"], named["name"]]
    assert sticky["apiVersion"].startswith(named["group"])
    (action,) = sticky["spec"]["actions"]
    assert action["forwardConfig"]["targetGroupStickinessConfig"] == {"enabled": True, "durationSeconds": 600}
    assert wave(sticky) < wave(found["HTTPRoute", "fraud"])


def test_nobody_stays_with_a_canary_that_is_gone() -> None:
    found = rendered(release(), FULL_GATEWAY)
    (rule,) = found["HTTPRoute", "fraud"]["spec"]["rules"]
    assert "filters" not in rule
    # the route of before may still name it
    assert ("ListenerRuleConfiguration", "fraud") in found


@pytest.mark.parametrize(("domains", "fits"), [(16, True), (17, False)])
def test_a_route_has_so_many_hosts(domains: int, fits: bool) -> None:
    clusters = [{"name": f"c{n}", "server": f"https://c{n}", "domain": f"c{n}.example"} for n in range(domains)]
    place = Environment.model_validate(
        {"name": "prod", "namespace": "models", "domain": "models.example.com", "clusters": clusters}
    ).model_copy(update={"router": environment(GATEWAY).router})
    if fits:
        (found,) = (one for one in objects(release(), model(), place) if one["kind"] == "HTTPRoute")
        assert len(found["spec"]["hostnames"]) == 16
    else:
        with pytest.raises(InvalidInput, match="16 hosts at most and the clusters have 17 domains"):
            objects(release(), model(), place)


def test_target_groups_are_of_pods_and_ask_each_server_in_its_own_way() -> None:
    found = rendered(release(10, trial=deployed(2, Runtime.TRITON)), GATEWAY)
    groups = {role: found["TargetGroupConfiguration", f"fraud-{role}"] for role in ("stable", "canary")}
    asked = {role: group["spec"]["defaultConfiguration"]["healthCheckConfig"] for role, group in groups.items()}
    assert asked["stable"]["healthCheckPath"] == "/ping"
    assert asked["canary"]["healthCheckPath"] == "/v2/health/live"
    for role, group in groups.items():
        assert group["spec"]["targetReference"] == {"name": f"fraud-{role}"}
        assert group["spec"]["defaultConfiguration"]["targetType"] == "ip"
        assert wave(group) < wave(found["HTTPRoute", "fraud"])


def test_a_pod_leaves_after_the_load_balancer_let_go() -> None:
    found = rendered(release(), GATEWAY)
    (delay,) = found["TargetGroupConfiguration", "fraud-stable"]["spec"]["defaultConfiguration"][
        "targetGroupAttributes"
    ]
    pod = found["Deployment", "fraud-stable"]["spec"]["template"]["spec"]
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert int(delay["value"]) < sleep < pod["terminationGracePeriodSeconds"]
