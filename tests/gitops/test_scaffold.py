"""A new repository: what Argo CD may do in it, what it finds, and what must not get into it."""

import re
import string

import pytest
import yaml

from gitops.check import check
from gitops.config import default_model_file, parse_environment
from gitops.layout import model_file, release_file
from gitops.release import Canary, Deployed, Release, Runtime
from gitops.render import objects, render
from gitops.scaffold import check_repo_url, scaffold
from gitops.state import read_environment, read_model
from gitops.tree import Files
from registry.errors import InvalidInput

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


def test_the_project_allows_what_is_rendered_and_no_more() -> None:
    files = scaffold(["dev", "prod"], repo_url=_URL)
    files["models/fraud/model.yaml"] = default_model_file("fraud")
    tree, image = Files(files), "registry.example/models/fraud@sha256:" + "0" * 64
    deployed = Deployed(version=1, image=image, runtime=Runtime.TORCHSERVE)
    trial = Canary(version=2, image=image, runtime=Runtime.TORCHSERVE, weight=5)
    release = Release(model="fraud", environment="prod", stable=deployed, canary=trial)
    rendered = objects(release, read_model(tree, "fraud"), read_environment(tree, "prod"))
    spec = yaml.safe_load(files["argocd/project.yaml"])["spec"]
    assert {(kind["group"], kind["kind"]) for kind in spec["namespaceResourceWhitelist"]} == {
        (manifest["apiVersion"].rpartition("/")[0], manifest["kind"]) for manifest in rendered
    }
    assert spec["clusterResourceWhitelist"] == []
    assert spec["sourceRepos"] == [_URL]
    assert [place["namespace"] for place in spec["destinations"]] == ["models-dev", "models-prod"]
    assert "*" not in str(spec)


def _filled(text: str, values: dict[str, object]) -> str:
    """What a Go template with plain fields, and `dig` for one with a default, makes of `text`."""

    def field(match: re.Match[str]) -> str:
        if match[1].startswith("dig "):
            *keys, default = re.findall(r'"([^"]*)"', match[1])
            inner: object = values
            for key in keys:
                inner = inner.get(key, default) if isinstance(inner, dict) else inner
            return str(inner)
        found: object = values
        for key in match[1].removeprefix(".").split("."):
            assert isinstance(found, dict)
            found = found[key]  # as missingkey=error has it
        return str(found)

    return re.sub(r"\{\{ (.*?) \}\}", field, text)


@pytest.mark.parametrize(
    ("cluster", "server"),
    [("", "https://kubernetes.default.svc"), ("cluster: {server: 'https://1.2.3.4'}", "https://1.2.3.4")],
)
def test_the_application_set_finds_every_release(cluster: str, server: str) -> None:
    """Fills in the templates as Argo CD's matrix of two git file generators does."""
    files = scaffold(["dev", "prod"], repo_url=_URL, revision="live")
    files["environments/prod.yaml"] = f"name: prod\nnamespace: ml\ndomain: m.example.com\n{cluster}".encode()
    files[model_file("fraud")] = default_model_file("fraud")
    tree = Files(files)
    image = "registry.example/models/fraud@sha256:" + "0" * 64
    release = Release(
        model="fraud",
        environment="prod",
        stable=Deployed(version=1, image=image, runtime=Runtime.TENSORFLOW_SERVING),
    )
    rendered = render(release, read_model(tree, "fraud"), read_environment(tree, "prod"))
    spec = yaml.safe_load(files["argocd/applicationset.yaml"])["spec"]
    first, second = (entry["git"] for entry in spec["generators"][0]["matrix"]["generators"])
    assert first["files"] == [{"path": "environments/*.yaml"}]
    assert first["pathParamPrefix"] != second["pathParamPrefix"]
    assert (first["revision"], second["revision"]) == ("live", "live")

    values = yaml.safe_load(files["environments/prod.yaml"])
    path = _filled(second["files"][0]["path"], values)
    assert path.replace("*", "fraud") == release_file("fraud", "prod")
    own = yaml.safe_load(rendered[release_file("fraud", "prod")])
    assert not own.keys() & values.keys()  # the matrix would let one hide the other
    values = {**values, **own, second["pathParamPrefix"]: {"path": {"path": "models/fraud/prod"}}}

    application = yaml.safe_load(_filled(yaml.safe_dump(spec["template"], width=4096), values))
    assert application["metadata"]["name"] == "fraud-prod"
    assert f"{application['spec']['source']['path']}/kustomization.yaml" in rendered
    assert application["spec"]["destination"] == {"server": server, "namespace": "ml"}
    options = application["spec"]["syncPolicy"]["syncOptions"]
    assert "PruneLast=true" in options
    assert "RespectIgnoreDifferences=true" not in options


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
