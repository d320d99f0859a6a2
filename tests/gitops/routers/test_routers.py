"""What holds for every router."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import kubernetes_validate
import pytest

from gitops.config import (
    AlbSettings,
    Environment,
    GatewaySettings,
    KserveSettings,
    RolloutsSettings,
    parse_environment,
)
from gitops.config.routers import AnyRouter
from gitops.release import Release, Runtime
from gitops.render import objects, render
from gitops.render.workload import KINDS
from gitops.routers import ROUTERS, check_weight_allowed, router_for
from registry.errors import InvalidInput, Refused
from tests.gitops.routers.cases import ALL, WEIGHS, deployed, environment, model, pods, release, rendered

_BUILT_IN = {"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "PodDisruptionBudget", "Service"}


def release_in(case: str, weight: int = 10, **options: Any) -> Release:
    """With a canary where the weight is in git."""
    return release(weight if case in WEIGHS else None, **options)


@pytest.mark.parametrize("kind", [AlbSettings, GatewaySettings, RolloutsSettings, KserveSettings])
def test_what_is_shown_to_people_works(kind: type[AnyRouter]) -> None:
    sample = dedent((kind.__doc__ or "").partition("\n\n")[2])
    head = "name: prod\nnamespace: models\ndomain: models.example.com\n"
    found = parse_environment((head + sample).encode(), "environments/prod.yaml").router
    assert type(found) is kind


@pytest.mark.parametrize("case", [case for case in ALL if case != "kserve"])
def test_a_model_is_served_at_the_domain_of_each_cluster(case: str) -> None:
    place = environment(ALL[case])
    clusters = [{"name": "eu", "server": "https://eu"}, {"name": "us", "server": "https://us", "domain": "us.example"}]
    several = Environment.model_validate(
        {"name": "prod", "namespace": "models", "domain": "models.example.com", "clusters": clusters}
    ).model_copy(update={"router": place.router})
    found = {manifest["kind"]: manifest.get("spec") for manifest in objects(release(), model(), several)}
    if "HTTPRoute" in found:
        hosts = found["HTTPRoute"]["hostnames"]
    else:
        hosts = [rule["host"] for rule in found["Ingress"]["rules"]]
    assert hosts == ["fraud.models.example.com", "fraud.us.example"]


@pytest.mark.parametrize("case", ALL)
def test_a_router_says_which_kinds_it_renders(case: str) -> None:
    place = environment(ALL[case])
    allowed = {*router_for(place).KINDS, *KINDS}
    for manifest in rendered(release_in(case), ALL[case]).values():
        group = manifest["apiVersion"].rpartition("/")[0]
        assert (group, manifest["kind"]) in allowed


def test_every_router_is_known_to_those_who_ask_for_all() -> None:
    assert {type(router_for(environment(text))) for text in ALL.values()} == set(ROUTERS)


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("runtime", Runtime)
@pytest.mark.parametrize("volume", [False, True])
def test_kubernetes_takes_every_object(case: str, runtime: Runtime, volume: bool) -> None:
    now = release_in(
        case, stable=deployed(1, runtime, volume=volume), trial=deployed(2, Runtime.TRITON, volume=not volume)
    )
    version = kubernetes_validate.latest_version()
    for manifest in rendered(now, ALL[case]).values():
        if manifest["kind"] in _BUILT_IN:
            kubernetes_validate.validate(manifest, version, strict=True)
        if manifest["kind"] in ("Rollout", "InferenceService"):
            for spec in pods(manifest):
                kubernetes_validate.validate(_as_pod(spec), version, strict=True)


def _as_pod(spec: dict[str, Any]) -> dict[str, Any]:
    kserves = ("labels", "annotations", "name", "minReplicas", "maxReplicas", "deploymentStrategy")
    plain = {key: value for key, value in spec.items() if key not in kserves}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": spec["labels"]}, "spec": plain}


@pytest.mark.parametrize("case", ALL)
def test_names_of_the_greatest_length_fit(case: str) -> None:
    now = release_in(case, stable=deployed(9_999_999_998), trial=deployed(9_999_999_999), name="m" * 40)
    for (kind, name), manifest in rendered(now, ALL[case]).items():
        assert len(name) <= 63
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())
        if kind == "InferenceService":
            # of which KServe makes the names of Services
            assert all(len(f"{name}-{spec.get('name', '')}-predictor") <= 63 for spec in pods(manifest))


@pytest.mark.parametrize("case", ALL)
def test_each_object_has_a_file_of_its_own(case: str) -> None:
    files = render(release_in(case), model(), environment(ALL[case]))
    manifests = [path for path in files if "/manifests/" in path and "kustomization" not in path]
    assert len(manifests) == len(rendered(release_in(case), ALL[case]))


@pytest.mark.parametrize("case", WEIGHS)
def test_a_step_changes_the_rule_alone(case: str) -> None:
    before, after = (rendered(release(weight), ALL[case]) for weight in (10, 50))
    changed = [kind for (kind, name) in before if before[kind, name] != after[kind, name]]
    assert before.keys() == after.keys()
    assert len(changed) == 1
    assert changed[0] in ("Ingress", "HTTPRoute", "InferenceService")


@pytest.mark.parametrize("case", ALL)
def test_services_never_change_between_releases(case: str) -> None:
    before, after = rendered(release(), ALL[case]), rendered(release(stable=deployed(9)), ALL[case])
    for key in before:
        if key[0] in ("Service", "TargetGroupConfiguration"):
            assert before[key] == after[key]


@pytest.mark.parametrize("case", ALL)
def test_pods_are_locked_down_under_every_router(case: str) -> None:
    running = [found for (kind, _), found in rendered(release_in(case), ALL[case]).items() if kind in _RUNS]
    assert running
    for spec in (spec for manifest in running for spec in pods(manifest)):
        assert spec["securityContext"]["runAsNonRoot"]
        assert not spec["automountServiceAccountToken"]
        (server,) = spec["containers"]
        assert server["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert server["lifecycle"]["preStop"]["sleep"]["seconds"] < spec["terminationGracePeriodSeconds"]


_RUNS = ("Deployment", "Rollout", "InferenceService")


@pytest.mark.parametrize("case", WEIGHS)
@pytest.mark.parametrize("weight", [1, 99, 100])
def test_any_weight_is_allowed_where_it_is_in_git(case: str, weight: int) -> None:
    check_weight_allowed(environment(ALL[case]), weight)


def test_a_weight_is_refused_where_a_controller_owns_it() -> None:
    place = environment(ALL["rollouts"])
    check_weight_allowed(place, 100)
    with pytest.raises(Refused) as caught:
        check_weight_allowed(place, 10)
    assert str(caught.value) == (
        "prod leaves the weights to Argo Rollouts, which goes by router.steps in environments/prod.yaml: promote with"
        " --weight 100, and it begins with the first step."
    )


@pytest.mark.parametrize(
    ("router", "says"),
    [
        ("kind: nginx", "router.kind is wrong: input should be 'alb', 'gateway', 'rollouts' or 'kserve'"),
        ("kind: 7", "router.kind is wrong"),
        ("scheme: public", "router.scheme is wrong: input should be 'internal' or 'internet-facing'"),
        ("kind: kserve\nscheme: internal", "router.scheme is not a setting here"),
        ("scheme: internet-facing", "router is wrong: an internet-facing load balancer needs a certificateArn"),
        ("kind: rollouts\nscheme: internet-facing", "router is wrong: an internet-facing load balancer needs a cert"),
        ("groupOrder: 5", "router is wrong: a groupOrder is a place in a group"),
        ("group: a\ngroupOrder: 1001", "router.groupOrder is wrong"),
        ("sslPolicy: ELBSecurityPolicy-2016-08", "router is wrong: an sslPolicy is for HTTPS"),
        ("sslPolicy: TLS1", "router.sslPolicy is wrong: 'TLS1' is not a security policy's name"),
        ("webAclArn: arn:aws:wafv2:us-east-1:123456789012:global/webacl/a/1", "router.webAclArn is wrong"),
        ("inboundCidrs: [10.0.0.1/8]", "router.inboundCidrs.0 is wrong: '10.0.0.1/8' is not a network"),
        ("inboundCidrs: ['10.0.0.0/8,0.0.0.0/0']", "router.inboundCidrs.0 is wrong"),
        ("inboundCidrs: ['::/0%x']", "router.inboundCidrs.0 is wrong"),
        ("inboundCidrs: [10.0.0.0]", "router.inboundCidrs.0 is wrong"),
        ("inboundCidrs: [10.0.0.0/8]\nsecurityGroups: [sg-01234567]", "router is wrong: inboundCidrs do nothing"),
        ("securityGroups: ['sg-01234567,sg-0']", "router.securityGroups.0 is wrong"),
        ("subnets: [subnet-01234567]", "router is wrong: a load balancer needs subnets in two zones"),
        ("subnets: [public]", "router.subnets.0 is wrong: 'public' is not a subnet's id"),
        ("stickiness: {durationSeconds: 0}", "router.stickiness.durationSeconds is wrong"),
        ("stickiness: {durationSeconds: 604801}", "router.stickiness.durationSeconds is wrong"),
        ("accessLogs: {bucket: 'a,b=c'}", "router.accessLogs.bucket is wrong"),
        (
            "accessLogs: {bucket: acme, prefix: 'x,deletion_protection.enabled=true'}",
            "router.accessLogs.prefix is wrong",
        ),
        ('accessLogs: {bucket: acme, prefix: "x\\ny"}', "router.accessLogs.prefix is wrong"),
        ("dropInvalidHeaderFields: maybe", "router.dropInvalidHeaderFields is wrong"),
        ("idleTimeoutSeconds: 4001", "router.idleTimeoutSeconds is wrong"),
        ("kind: gateway", "router.gateway is missing, add it"),
        ("kind: gateway\ngateway: {name: Public}", "router.gateway.name is wrong"),
        ("kind: gateway\ngateway: {name: a, namespace: a.b}", "router.gateway.namespace is wrong"),
        ("kind: gateway\ngateway: {name: a, sectionName: a_b}", "router.gateway.sectionName is wrong"),
        ("kind: rollouts\nstickiness: {durationSeconds: 60}", "router is wrong: stickiness would lead clients to pods"),
        ("kind: rollouts\nsteps: []", "each setWeight of the steps must be above the one before"),
        ("kind: rollouts\nsteps: [{pause: {}}]", "each setWeight of the steps must be above the one before"),
        ("kind: rollouts\nsteps: [{setWeight: 50}, {setWeight: 10}]", "each setWeight of the steps must be above"),
        ("kind: rollouts\nsteps: [{setWeight: 50, pause: {}}]", "steps.0 is wrong: a step is either a setWeight or"),
        ("kind: rollouts\nsteps: [{}]", "steps.0 is wrong: a step is either a setWeight or a pause"),
        ("kind: rollouts\nsteps: [{setWeight: 0}]", "router.steps.0.setWeight is wrong"),
        ("kind: rollouts\nsteps: [{setWeight: 101}]", "router.steps.0.setWeight is wrong"),
        ("kind: rollouts\nsteps: [{setWeight: 1}, {pause: {duration: 1 h}}]", "router.steps.1.pause.duration is wrong"),
        ("kind: rollouts\nsteps: [{setWeight: 1}, {analysis: {}}]", "router.steps.1.analysis is not a setting here"),
        ("kind: rollouts\nabortScaleDownDelaySeconds: 1", "router.abortScaleDownDelaySeconds is wrong"),
    ],
)
def test_a_router_that_is_wrong(router: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        environment(router)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("router", ["alb", "[alb]", "null", "7"])
def test_a_router_that_is_no_section(router: str) -> None:
    text = f"name: prod\nnamespace: models\ndomain: models.example.com\nrouter: {router}\n"
    with pytest.raises(InvalidInput, match=r"environments/prod\.yaml: router is wrong: input should be a valid dict"):
        parse_environment(text.encode(), "environments/prod.yaml")
