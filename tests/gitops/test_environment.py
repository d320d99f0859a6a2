"""What an environment asks and where it is: what people may write, and the sentence they get when it is wrong."""

from datetime import timedelta
from importlib.resources import files

import pytest

from gitops.config import Environment, Model, parse_environment, parse_model
from gitops.config.merged import settings_for
from gitops.config.policy import PullRequest, Worst
from gitops.scaffold import scaffold
from registry.errors import InvalidInput

_ENV = "name: prod\nnamespace: models\ndomain: models.example.com\n"


def environment(text: str) -> Environment:
    return parse_environment((_ENV + text).encode(), "environments/prod.yaml")


def model(text: str) -> Model:
    return parse_model(("name: fraud\n" + text).encode(), "models/fraud/model.yaml")


def gates(text: str) -> Environment:
    return environment(f"gates: {text}")


def test_nothing_is_asked_by_default() -> None:
    found = environment("")
    assert (found.releasers, found.gates.weights, found.gates.freeze) == ((), (), ())
    assert not any((found.gates.approved, found.gates.smoke_passed, found.gates.scan_clean, found.gates.healthy_in))
    assert found.gates.pull_request is PullRequest.OPTIONAL


@pytest.mark.parametrize("name", ["scanClean", "healthyIn", "maxStep", "approved"])
def test_a_gate_without_a_value_is_no_open_gate(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"gates is wrong: {name} has no value"):
        gates(f"\n  {name}:\n")


def test_everything_can_be_said_as_the_first_file_shows_it() -> None:
    written = scaffold(["prod"], repo_url="https://git.example.com/a/b.git")["environments/prod.yaml"].decode()
    start = written.index("# defaults:")
    shown = [line.removeprefix("# ") for line in written[start:].splitlines()]
    # prose of several words begins with a capital or a word and has no colon after its first word
    yaml = [line for line in shown if line.startswith((" ", "-", "defaults:", "releasers:", "gates:"))]
    found = parse_environment((written[:start] + "\n".join(yaml)).encode(), "environments/prod.yaml")
    assert (found.defaults.scaling.max, found.defaults.node.spot) == (2, "canary")
    assert found.releasers == ("role:approver", "ann@example.com", "*@release.example.com")
    assert found.gates.scan_clean is Worst.NOTE
    assert found.gates.smoke_passed
    assert found.gates.approved
    assert found.gates.healthy_in is not None
    assert (found.gates.healthy_in.environment, found.gates.healthy_in.hours) == ("staging", 24)
    assert (found.gates.weights, found.gates.max_step) == ((5, 25, 50, 100), 50)
    (freeze,) = found.gates.freeze
    assert (freeze.cron, freeze.time_zone, freeze.duration) == ("0 17 * * FRI", "Europe/Berlin", timedelta(hours=63))
    assert found.gates.pull_request is PullRequest.REQUIRED


def test_every_setting_is_explained_in_the_first_file() -> None:
    text = (files("gitops") / "templates" / "environment.yaml").read_text()
    parts = (Environment, type(environment("").gates))
    names = {field.alias or name for part in parts for name, field in part.model_fields.items()}
    assert {name for name in names if f"{name}:" not in text} == set()


def test_one_cluster_or_several() -> None:
    assert environment("").all_clusters == (("", "https://kubernetes.default.svc", "models.example.com"),)
    assert environment("cluster: {server: 'https://k8s.example.com'}").all_clusters == (
        ("", "https://k8s.example.com", "models.example.com"),
    )
    several = "clusters: [{name: eu, server: 'https://eu'}, {name: us, server: 'https://us', domain: us.example.com}]"
    assert environment(several).all_clusters == (
        ("eu", "https://eu", "models.example.com"),
        ("us", "https://us", "us.example.com"),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clusters: [{name: a, server: 'https://a'}]\ncluster: {}", "cluster and clusters are both given, keep one"),
        ("clusters: [{name: a, server: 'https://a'}, {name: a, server: 'https://b'}]", "two clusters have the name a"),
        ("clusters: [{name: a, server: 'https://a'}, {name: b, server: 'https://a'}]", "have the server https://a"),
        ("clusters: [{server: 'https://a'}]", "clusters.0.name is missing, add it"),
        ("clusters: [{name: A, server: 'https://a'}]", "clusters.0.name is wrong: 'A' is not a cluster's name"),
        ("releasers: ['role:boss']", r"releasers.0 is wrong: 'role:boss' is not a role: write one of role:viewer, "),
        ('releasers: ["a\\nb"]', "releasers.0 is wrong: must be one line"),
        ("releasers: ann", "releasers is wrong"),
        ("defaults: {scaling: {min: 0}}", "defaults.scaling.min is wrong"),
        ("defaults: {runtime: triton}", "defaults.runtime is not a setting here"),
        ("gates: {scanClean: danger}", "gates.scanClean is wrong: input should be 'none', 'note' or 'warning'"),
        ("gates: {approved: 'yes'}", "gates.approved is wrong: input should be a valid boolean"),
        ("gates: {smoke_passed: true}", "gates.smoke_passed is not a setting here"),
        ("gates: {healthyIn: {environment: staging}}", "gates.healthyIn.hours is missing"),
        ("gates: {healthyIn: {environment: staging, hours: 0}}", "gates.healthyIn.hours is wrong"),
        ("gates: {healthyIn: {environment: prod, hours: 1}}", "gates.healthyIn.environment is prod itself"),
        ("gates: {weights: [5, 50]}", "gates is wrong: weights must hold 100, else no release can be finished"),
        ("gates: {weights: [0, 100]}", "gates.weights.0 is wrong"),
        ("gates: {weights: [50, 100], maxStep: 40}", "no weight is allowed between 0 and 50, which maxStep 40 forbids"),
        ("gates: {weights: [40, 100], maxStep: 40}", "no weight is allowed between 40 and 100"),
        ("gates: {maxStep: 0}", "gates.maxStep is wrong"),
        ("gates: {pullRequest: maybe}", "gates.pullRequest is wrong: input should be 'required', 'optional' or 'nev"),
        (
            "gates: {freeze: [{cron: '0 17 * *', duration: 1h}]}",
            "gates.freeze.0.cron is wrong: '0 17 \\* \\*' is not a cron",
        ),
        ("gates: {freeze: [{cron: '0 0 0 17 * *', duration: 1h}]}", "of five fields, like 0 17"),
        ("gates: {freeze: [{cron: '61 0 * * *', duration: 1h}]}", r"\(bad minute\)"),
        ("gates: {freeze: [{cron: '0 0 31 2 *', duration: 1h}]}", r"\(bad day-of-month\)"),
        ("gates: {freeze: [{cron: '0 0 * * *'}]}", "gates.freeze.0.duration is missing"),
        (
            "gates: {freeze: [{cron: '0 0 * * *', duration: 1w}]}",
            "'1w' is not a duration: write days, hours and minutes",
        ),
        ("gates: {freeze: [{cron: '0 0 * * *', duration: ''}]}", "'' is not a duration"),
        ("gates: {freeze: [{cron: '0 0 * * *', duration: 5}]}", "'5' is not a duration"),
        ("gates: {freeze: [{cron: '0 0 * * *', duration: 0m}]}", "0m is not between a minute and 366 days"),
        ("gates: {freeze: [{cron: '0 0 * * *', duration: 400d}]}", "400d is not between a minute and 366 days"),
        ("gates: {freeze: [{cron: '0 0 * * *', duration: 1h, timeZone: Mars/Base}]}", "'Mars/Base' is no time zone"),
        ("gates: {freeze: [{cron: '0 0 * * *', duration: 1h, timeZone: ../etc/passwd}]}", "is no time zone known here"),
        ("gates: {freeze: [{cron: '0 0 * * *', duration: 1h, timeZone: /etc/passwd}]}", "is no time zone known here"),
        ("gates: {freeze: [{cron: '0 0 * * *', duration: 1h, timeZone: Europe}]}", "is no time zone known here"),
        ("gates: {freeze: [{cron: '0 0 * * *', duration: 1h, timeZone: ''}]}", "is no time zone known here"),
        (
            "router: {kind: rollouts}\ngates: {maxStep: 5}",
            "gates.weights and gates.maxStep do nothing beside router.st",
        ),
    ],
)
def test_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        environment(text)
    assert str(caught.value).startswith("environments/prod.yaml")
    assert "\n" not in str(caught.value)


def test_the_defaults_of_an_environment_come_first_and_the_models_own_settings_for_it_last() -> None:
    place = environment("defaults: {resources: {gpu: 0, cpu: 7, memory: 1Gi}, scaling: {max: 3}}")
    said = model("resources: {cpu: 5, memory: 2Gi}\nenvironments: {prod: {resources: {memory: 3Gi}}}")
    found = settings_for(said, place)
    assert (found.resources.gpu, found.resources.cpu, found.resources.memory) == (0, "5", "3Gi")
    assert found.scaling.max == 3
    assert found.node_selector == {}


def test_without_defaults_a_model_runs_as_its_own_file_says() -> None:
    said = model("resources: {gpu: 2}\nscaling: {max: 9}\nenvironments: {prod: {scaling: {min: 3}}}")
    assert settings_for(said, environment("")) == said.for_environment("prod")


def test_a_selector_replaces_the_one_of_the_environment() -> None:
    place = environment("defaults: {node: {selector: {pool: spot, zone: a}, tolerations: [{key: spot}]}}")
    found = settings_for(model("node: {selector: {disk: ssd}}"), place)
    assert found.node_selector == {"disk": "ssd"}
    assert [toleration.key for toleration in found.tolerations] == ["spot"]


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(
        InvalidInput,
        match=r"models/fraud/model\.yaml does not go together with the defaults in environments/prod\.yaml:"
        r" scaling\.min 3 is above scaling\.max 2.*, change one of them\.",
    ):
        settings_for(model("scaling: {min: 3}"), environment("defaults: {scaling: {max: 2}}"))
