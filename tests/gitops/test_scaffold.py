"""A new repository: what Argo CD may do in it, what it finds, and what must not get into it."""

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import yaml

from gitops.argocd.applications import application_names
from gitops.check import check
from gitops.config import default_model_file, parse_environment
from gitops.layout import model_file, release_dir, release_file
from gitops.manifests import Manifest
from gitops.release import Canary, Deployed, Release, Runtime
from gitops.render import objects, render
from gitops.render.workload import KINDS
from gitops.routers import ROUTERS
from gitops.scaffold import check_repo_url, scaffold
from gitops.state import read_environment, read_model, release_yaml
from gitops.tree import Files
from registry.errors import InvalidInput
from tests.gitops.gotemplate import MissingKey, filled

_URL = "https://git.example.com/acme/models.git"


def test_every_file_has_a_place_and_a_reason() -> None:
    found = scaffold(["dev", "prod"], repo_url=_URL)
    assert list(found) == [
        "README.md",
        "argocd/applicationset.yaml",
        "argocd/namespaces/dev.yaml",
        "argocd/namespaces/prod.yaml",
        "argocd/project.yaml",
        "environments/dev.yaml",
        "environments/prod.yaml",
    ]
    assert found == scaffold(["dev", "prod"], repo_url=_URL)
    assert all(data.startswith(b"#") and data.endswith(b"\n") for data in found.values())
    assert check(Files(found)) == []


def test_environments_are_settings_that_can_be_read() -> None:
    found = scaffold(["dev", "prod"], repo_url=_URL)
    for name in ("dev", "prod"):
        environment = parse_environment(found[f"environments/{name}.yaml"], f"environments/{name}.yaml")
        namespace = yaml.safe_load(found[f"argocd/namespaces/{name}.yaml"])
        assert environment.namespace == namespace["metadata"]["name"]
        assert namespace["metadata"]["labels"]["elbv2.k8s.aws/pod-readiness-gate-inject"] == "enabled"


def _released(*, canary: bool = False) -> Release:
    image = "registry.example/models/fraud@sha256:" + "0" * 64
    deployed = Deployed(version=1234567, image=image, runtime=Runtime.TORCHSERVE)
    trial = Canary(version=2, image=image, runtime=Runtime.TORCHSERVE, weight=5) if canary else None
    return Release(model="fraud", environment="prod", stable=deployed, canary=trial)


def _kinds_of(manifests: Sequence[Manifest]) -> set[tuple[str, str]]:
    return {(str(one["apiVersion"]).rpartition("/")[0], str(one["kind"])) for one in manifests}


_GATEWAY = "{kind: gateway, gateway: {name: public}, stickiness: {durationSeconds: 60}}"


_PLAIN = "name: fraud\n"
_SCALED = "name: fraud\nscaling: {metric: queue, via: keda}\nmonitoring: {kind: podMonitor}\n"


@pytest.mark.parametrize("settings", [_PLAIN, _SCALED])
@pytest.mark.parametrize("router", ["{kind: alb}", _GATEWAY, "{kind: rollouts}", "{kind: kserve}"])
def test_the_project_allows_what_any_router_renders(router: str, settings: str) -> None:
    files = scaffold(["dev", "prod"], repo_url=_URL)
    files["environments/prod.yaml"] = f"name: prod\nnamespace: ml\ndomain: a.example\nrouter: {router}\n".encode()
    files["models/fraud/model.yaml"] = settings.encode()
    tree = Files(files)
    release = _released(canary="rollouts" not in router)
    rendered = objects(release, read_model(tree, "fraud"), read_environment(tree, "prod"))
    assert _kinds_of(rendered) <= _allowed(files)


def _allowed(files: Mapping[str, bytes]) -> set[tuple[str, str]]:
    spec = yaml.safe_load(files["argocd/project.yaml"])["spec"]
    return {(kind["group"], kind["kind"]) for kind in spec["namespaceResourceWhitelist"]}


def test_the_project_allows_nothing_else() -> None:
    files = scaffold(["dev", "prod"], repo_url=_URL)
    spec = yaml.safe_load(files["argocd/project.yaml"])["spec"]
    assert _allowed(files) == {tuple(kind) for kind in KINDS} | {kind for router in ROUTERS for kind in router.KINDS}
    assert spec["clusterResourceWhitelist"] == []
    assert spec["sourceRepos"] == [_URL]
    assert [place["namespace"] for place in spec["destinations"]] == ["models-dev", "models-prod"]
    assert "*" not in str(spec)


_CLUSTERS = (
    "clusters: [{name: eu, server: 'https://eu.example'}, {name: us, server: 'https://us.example', domain: a.b}]"
)
_HERE = "https://kubernetes.default.svc"


def _applications(files: Mapping[str, bytes], release: Release) -> list[dict[str, Any]]:
    """What Argo CD makes of the ApplicationSet, for one release.

    A matrix fills in its second generator with what the first one found, and what the first found is kept where both
    found something of a name (applicationset/generators/matrix.go).
    """
    spec = yaml.safe_load(files["argocd/applicationset.yaml"])["spec"]
    assert (spec["goTemplate"], spec["goTemplateOptions"]) == (True, ["missingkey=error"])
    found, places = spec["generators"][0]["matrix"]["generators"]
    environments, releases = (entry["git"] for entry in found["matrix"]["generators"])
    assert environments["files"] == [{"path": "environments/*.yaml"}]
    assert environments["pathParamPrefix"] != releases["pathParamPrefix"]
    values = yaml.safe_load(files[f"environments/{release.environment}.yaml"])
    path = filled(releases["files"][0]["path"], values)
    assert path.replace("*", release.model) == release_file(release.model, release.environment)
    own = {name: value for name, value in yaml.safe_load(release_yaml(release)).items() if name not in values}
    assert own.keys() == release.model_dump(exclude_none=True).keys()
    folder = release_dir(release.model, release.environment)
    values = {**own, **values, releases["pathParamPrefix"]: {"path": {"path": folder}}}
    elements = yaml.safe_load(filled(places["list"]["elementsYaml"], values))
    assert places["list"]["elements"] == []
    assert all(not element.keys() & values.keys() for element in elements)
    template = yaml.safe_dump(spec["template"], width=4096)
    return [yaml.safe_load(filled(template, {**values, **element})) for element in elements]


@pytest.mark.parametrize(
    ("cluster", "wanted"),
    [
        ("", {"fraud-prod": _HERE}),
        ("clusters: []", {"fraud-prod": _HERE}),
        ("cluster: {server: 'https://1.2.3.4'}", {"fraud-prod": "https://1.2.3.4"}),
        (_CLUSTERS, {"fraud-prod-eu": "https://eu.example", "fraud-prod-us": "https://us.example"}),
    ],
)
@pytest.mark.parametrize("canary", [False, True])
def test_the_application_set_makes_an_application_for_each_cluster(
    cluster: str, wanted: dict[str, str], *, canary: bool
) -> None:
    files = scaffold(["dev", "prod"], repo_url=_URL, revision="live")
    files["environments/prod.yaml"] = f"name: prod\nnamespace: ml\ndomain: m.example.com\n{cluster}".encode()
    files[model_file("fraud")] = default_model_file("fraud")
    tree = Files(files)
    release = _released(canary=canary)
    rendered = render(release, read_model(tree, "fraud"), read_environment(tree, "prod"))
    made = _applications(files, release)
    assert {one["metadata"]["name"]: one["spec"]["destination"]["server"] for one in made} == wanted
    names = application_names("fraud", read_environment(tree, "prod"))
    assert list(names.values()) == list(wanted), "what is asked of Argo CD goes by the same names"
    for application in made:
        spec = application["spec"]
        assert spec["destination"]["namespace"] == "ml"
        assert spec["source"]["targetRevision"] == "live"
        assert f"{spec['source']['path']}/kustomization.yaml" in rendered
        told = {entry["name"]: entry["value"] for entry in spec["info"]}
        assert told["Stable"] == f"fraud@1234567, {release.stable.image}"
        assert told["Canary"] == (f"fraud@2, {release.stable.image}, 5 %" if canary else "none")


def test_an_application_is_synced_safely() -> None:
    spec = _applications(scaffold(["prod"], repo_url=_URL), _released())[0]["spec"]
    assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
    assert {"PruneLast=true", "ServerSideApply=true"} <= set(spec["syncPolicy"]["syncOptions"])
    assert "RespectIgnoreDifferences=true" not in spec["syncPolicy"]["syncOptions"]
    assert spec["syncPolicy"]["retry"]["limit"] > 0
    assert spec["syncPolicy"]["retry"]["refresh"]
    for ignored in [one for router in ROUTERS for one in router.IGNORED]:
        assert ignored in spec["ignoreDifferences"]
    assert {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]} in spec["ignoreDifferences"]


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://github.com/acme/models.git", "https://github.com/acme/models/commits/live/"),
        ("git@github.com:acme/models.git", "https://github.com/acme/models/commits/live/"),
        ("ssh://git@gitlab.acme.example:2222/a/b/models", "https://gitlab.acme.example/a/b/models/-/commits/live/"),
        ("https://git.example.com/acme/models.git", None),
        ("https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/models", None),
    ],
)
def test_an_application_links_to_the_commits_of_its_release(url: str, page: str | None) -> None:
    (application,) = _applications(scaffold(["prod"], repo_url=url, revision="live"), _released())
    told = {entry["name"]: entry["value"] for entry in application["spec"]["info"]}
    wanted = page and f"{page}models/fraud/prod"
    assert told.get("History") == wanted
    assert application["metadata"]["annotations"].get("link.argocd.argoproj.io/history") == wanted


def test_a_template_that_names_what_is_not_there_is_an_error() -> None:
    with pytest.raises(MissingKey):
        filled("{{ .nothing.here }}", {"something": 1})


def test_the_readme_leaves_no_blank() -> None:
    text = scaffold(["dev", "prod"], repo_url=_URL)["README.md"].decode()
    assert "(dev, prod)" in text
    assert not string.Template(text).get_identifiers()


def test_the_readme_names_the_branch_and_what_the_cluster_needs() -> None:
    text = scaffold(["prod"], repo_url=_URL, revision="release/live")["README.md"].decode()
    assert text.count("the branch `release/live`") == 2
    assert "main" not in re.findall(r"\w+", text)
    assert "Kubernetes 1.30 or newer" in text


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.com/acme/models.git",
        "http://127.0.0.1:3000/acme/models.git",
        "git@git.example.com:acme/models.git",
        "ssh://git@git.example.com:2222/acme/models.git",
        "file:///srv/git/models.git",
    ],
)
def test_urls(url: str) -> None:
    assert check_repo_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://me:secret@git.example.com/acme/models.git",
        "https://ghp_secret@git.example.com/acme/models.git",
        "ssh://git:secret@git.example.com/acme/models.git",
        "https://git.example.com/acme/models.git?token=secret",
        "me:secret@git.example.com:acme/models.git",
        "https://git.example.com/{{ .secret }}",
        "https://git.example.com/secret\nkind: x",
        "secret",
        "",
    ],
)
def test_urls_that_must_not_be_committed(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        scaffold(["prod"], repo_url=url)
    assert "secret" not in str(caught.value).replace("repository secret", "")


@pytest.mark.parametrize(
    ("environments", "revision", "says"),
    [
        ([], "main", "at least one environment"),
        (["prod", "prod"], "main", "each only once"),
        (["Prod"], "main", "cannot name an environment"),
        (["../x"], "main", "cannot name an environment"),
        (["prod"], "a b", "is not a branch"),
        (["prod"], "--upload-pack", "is not a branch"),
        (["prod"], "{{ . }}", "is not a branch"),
    ],
)
def test_refused(environments: list[str], revision: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        scaffold(environments, repo_url=_URL, revision=revision)
