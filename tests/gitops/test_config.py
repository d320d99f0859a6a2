"""The files that people write: what they may say, and the sentence they get when it is wrong."""

import pytest

from gitops.config import (
    IN_CLUSTER,
    AlbSettings,
    Environment,
    Model,
    default_model_file,
    parse_environment,
    parse_model,
)
from registry.errors import InvalidInput

_ENV = "name: prod\nnamespace: models\ndomain: models.example.com\n"
_ARN = "arn:aws:acm:eu-west-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"


def environment(text: str) -> Environment:
    return parse_environment(text.encode(), "environments/prod.yaml")


def model(text: str) -> Model:
    return parse_model(("name: fraud\n" + text).encode(), "models/fraud/model.yaml")


def test_an_environment_has_defaults() -> None:
    found = environment(_ENV)
    assert found.cluster.server == IN_CLUSTER
    assert found.router == AlbSettings()
    assert (found.router.kind, found.router.ingress_class_name, found.router.scheme) == ("alb", "alb", "internal")


def test_an_environment_says_everything() -> None:
    router = (
        f"router: {{kind: alb, ingressClassName: own, scheme: internet-facing, group: g, certificateArn: {_ARN!r}}}"
    )
    found = environment(_ENV + f"cluster: {{server: 'https://1.2.3.4:6443'}}\n{router}\n")
    assert (found.router.ingress_class_name, found.router.group) == ("own", "g")
    assert found.router.certificate_arn == _ARN
    assert found.cluster.server == "https://1.2.3.4:6443"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: dev\nnamespace: m\ndomain: a.b", "environments/prod.yaml: name is dev, but the file's name"),
        ("namespace: m\ndomain: a.b", "environments/prod.yaml: name is missing, add it."),
        ("name: no\nnamespace: m\ndomain: a.b", "name is wrong: input should be a valid string"),
        ("name: Prod\nnamespace: m\ndomain: a.b", "name is wrong: 'Prod' cannot name an environment"),
        ("name: prod\nnamespace: m", "domain is missing"),
        (_ENV + "naemspace: x", "naemspace is not a setting here, correct its spelling or remove it."),
        (_ENV + "router: {kind: nginx}", "router.kind is wrong: input should be 'alb'"),
        (_ENV + "router: {ingress_class_name: x}", "router.ingress_class_name is not a setting here"),
        (_ENV + "router: {scheme: public}", "router.scheme is wrong"),
        (_ENV + "router: {scheme: internet-facing}", "router is wrong: an internet-facing load balancer needs a cert"),
        (_ENV + "router: {certificateArn: 'x'}", "router.certificateArn is wrong: 'x' is not a certificate's ARN"),
        (_ENV + "router: {group: 'A b'}", "router.group is wrong"),
        (_ENV + "cluster: {server: 'http://1.2.3.4'}", "cluster.server is wrong"),
        (_ENV + "cluster: {server: 'https://me:secret@1.2.3.4'}", "cluster.server is wrong"),
        (_ENV + "cluster:", "cluster is wrong"),
        ("name: prod\nnamespace: kube_system\ndomain: a.b", "namespace is wrong: 'kube_system' is not a namespace"),
        ("name: prod\nnamespace: m\ndomain: '*.example.com'", "domain is wrong"),
        ("name: prod\nnamespace: m\ndomain: localhost", "domain is wrong"),
        ("name: prod\nnamespace: m\ndomain: a.b\nx: 1\ny: 2", r"x is not a setting here.* \(and 1 more\)\."),
        (_ENV + "name: prod", "line 4: 'name' is there twice"),
    ],
)
def test_an_environment_that_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        environment(text)
    assert str(caught.value).startswith("environments/prod.yaml")
    assert "\n" not in str(caught.value)


def test_a_model_has_defaults() -> None:
    found = model("").for_environment("prod")
    assert (found.resources.gpu, found.resources.cpu, found.resources.memory) == (1, "2", "8Gi")
    assert (found.scaling.min, found.scaling.max, found.scaling.cpu_utilization) == (1, 4, 70)
    assert found.node_selector == {"sluicegate.dev/pool": "gpu"}
    assert [t.model_dump(exclude_none=True) for t in found.tolerations] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]


def test_the_first_model_file_says_the_defaults() -> None:
    written = parse_model(default_model_file("fraud"), "models/fraud/model.yaml")
    assert written.for_environment("prod") == model("").for_environment("prod")
    assert written.environments == {}


def test_without_a_gpu_any_node_will_do() -> None:
    found = model("resources: {gpu: 0}").for_environment("prod")
    assert (found.node_selector, found.tolerations) == ({}, ())


def test_people_choose_the_nodes() -> None:
    found = model(
        "resources: {gpu: 0}\nnode: {selector: {disk: ssd}, tolerations: [{key: a, value: b}]}"
    ).for_environment("prod")
    assert found.node_selector == {"disk": "ssd"}
    assert found.tolerations[0].operator == "Equal"
    assert model("node: {selector: {}, tolerations: []}").for_environment("prod").node_selector == {}


def test_an_environment_replaces_single_fields() -> None:
    found = model(
        "resources: {gpu: 2, memory: 16Gi}\nscaling: {max: 9}\n"
        "environments: {prod: {resources: {cpu: 4}, scaling: {min: 3}}, dev: {resources: {gpu: 0}}}"
    )
    there = found.for_environment("prod")
    assert (there.resources.gpu, there.resources.cpu, there.resources.memory) == (2, "4", "16Gi")
    assert (there.scaling.min, there.scaling.max, there.scaling.cpu_utilization) == (3, 9, 70)
    assert found.for_environment("dev").resources.gpu == 0
    assert found.for_environment("dev").node_selector == {}
    assert found.for_environment("other").resources.gpu == 2


def test_an_environment_may_set_what_is_the_default() -> None:
    # 1 is the default of gpu: that it was written is what counts
    found = model("resources: {gpu: 4}\nenvironments: {dev: {resources: {gpu: 1}}}")
    assert found.for_environment("dev").resources.gpu == 1


def test_half_a_scaling_is_judged_after_the_merge() -> None:
    assert (
        model("scaling: {max: 9}\nenvironments: {prod: {scaling: {min: 6}}}").for_environment("prod").scaling.min == 6
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("resources: {gpu: -1}", "resources.gpu is wrong: input should be greater than or equal to 0"),
        ("resources: {gpu: 1.5}", "resources.gpu is wrong"),
        ("resources: {gpu: true}", "resources.gpu is wrong"),
        ("resources: {cpu: 0}", "resources.cpu is wrong: '0' is not an amount of CPU"),
        ("resources: {cpu: lots}", "resources.cpu is wrong"),
        ("resources: {memory: 8 GB}", "resources.memory is wrong: '8 GB' is not an amount of memory like 8Gi"),
        ("resources: {memory: 1e3}", "resources.memory is wrong"),
        ("scaling: {min: 0}", "scaling.min is wrong"),
        ("scaling: {min: 5, max: 4}", "scaling.min 5 is above scaling.max 4"),
        ("scaling: {cpuUtilization: 101}", "scaling.cpuUtilization is wrong"),
        ("scaling: {cpu_utilization: 50}", "scaling.cpu_utilization is not a setting here"),
        ("environments: {prod: {scaling: {min: 5}}}", "scaling.min 5 is above scaling.max 4 in prod"),
        ("environments: {prod: {replicas: 5}}", "environments.prod.replicas is not a setting here"),
        ("environments: {Prod: {}}", "environments.Prod is wrong"),
        ("node: {selector: {gpu: true}}", "node.selector.gpu is wrong: input should be a valid string"),
        ("node: {selector: {'a b': x}}", "node.selector.a b is wrong"),
        ("node: {tolerations: [{operator: Exists, value: x}]}", "node.tolerations.0 is wrong.*takes no value"),
        ("node: {tolerations: [{value: x}]}", "node.tolerations.0 is wrong: a toleration needs a key"),
        ("imagee: x", "imagee is not a setting here"),
    ],
)
def test_a_model_that_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        model(text)
    assert str(caught.value).startswith("models/fraud/model.yaml: ")
    assert "\n" not in str(caught.value)


def test_a_model_in_another_folder() -> None:
    with pytest.raises(
        InvalidInput, match=r"models/spam/model\.yaml: name is fraud, but the folder's name says otherwise"
    ):
        parse_model(b"name: fraud", "models/spam/model.yaml")


def test_no_file_is_written_for_a_bad_name() -> None:
    with pytest.raises(InvalidInput, match="cannot name a model"):
        default_model_file("../etc")
