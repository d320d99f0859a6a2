"""A repository holds just what it renders, or check says where it does not."""

import pytest

from gitops.check import Problem, ProblemKind, check
from gitops.config import default_model_file
from gitops.release import Canary, Deployed, Release, Runtime
from gitops.render import render
from gitops.scaffold import scaffold
from gitops.state import read_environment, read_model
from gitops.tree import Files

_FOLDER = "models/fraud/prod"
_IMAGE = "registry.example/models/fraud@sha256:" + "0" * 64


def release(model: str, environment: str) -> Release:
    return Release(
        model=model,
        environment=environment,
        stable=Deployed(version=1, image=_IMAGE, runtime=Runtime.TORCHSERVE),
        canary=Canary(version=2, image=_IMAGE, runtime=Runtime.TENSORFLOW_SERVING, weight=5),
    )


def add(files: dict[str, bytes], model: str, environment: str) -> None:
    files.setdefault(f"models/{model}/model.yaml", default_model_file(model))
    tree = Files(files)
    files.update(render(release(model, environment), read_model(tree, model), read_environment(tree, environment)))


@pytest.fixture
def repository() -> dict[str, bytes]:
    files = scaffold(["dev", "prod"], repo_url="https://git.example.com/acme/models.git")
    add(files, "fraud", "dev")
    add(files, "fraud", "prod")
    return files


def only(files: dict[str, bytes]) -> Problem:
    problems = check(Files(files))
    assert len(problems) == 1, problems
    return problems[0]


def test_a_clean_repository(repository: dict[str, bytes]) -> None:
    repository["models/fraud/README.md"] = b"people may write beside model.yaml"
    repository["models/OWNERS"] = b"and here"
    repository["environments/README.md"] = b"and here"
    repository["environments/notes/old.md"] = b"and here"
    assert check(Files(repository)) == []


def test_a_change_by_hand_is_shown(repository: dict[str, bytes]) -> None:
    path = f"{_FOLDER}/manifests/ingress.yaml"
    repository[path] = repository[path].replace(b'"weight": 95', b'"weight": 50')
    problem = only(repository)
    assert (problem.path, problem.kind) == (path, ProblemKind.DIFFERS)
    changes = [line for line in problem.diff.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert [line.split() for line in changes] == [["-", '"weight":', "50"], ["+", '"weight":', "95"]]


def test_a_release_changed_by_hand_differs_from_its_manifests(repository: dict[str, bytes]) -> None:
    path = f"{_FOLDER}/release.yaml"
    repository[path] = repository[path].replace(b"weight: 5", b"weight: 50")
    assert only(repository).path == f"{_FOLDER}/manifests/ingress.yaml"


def test_spaces_and_line_ends_count(repository: dict[str, bytes]) -> None:
    path = f"{_FOLDER}/manifests/service-stable.yaml"
    repository[path] = repository[path].rstrip(b"\n")
    assert "\\ No newline at end of file" in only(repository).diff


def test_bytes_that_are_no_text_have_no_diff(repository: dict[str, bytes]) -> None:
    repository[f"{_FOLDER}/manifests/service-stable.yaml"] = b"\xff"
    problem = only(repository)
    assert (problem.kind, problem.diff) == (ProblemKind.DIFFERS, "")


def test_a_missing_file(repository: dict[str, bytes]) -> None:
    del repository[f"{_FOLDER}/manifests/service-canary.yaml"]
    problem = only(repository)
    assert (problem.path, problem.kind) == (f"{_FOLDER}/manifests/service-canary.yaml", ProblemKind.MISSING)


@pytest.mark.parametrize("path", [f"{_FOLDER}/manifests/secret.yaml", f"{_FOLDER}/notes.txt", f"{_FOLDER}/a/b/c"])
def test_a_file_too_many(repository: dict[str, bytes], path: str) -> None:
    repository[path] = b"kind: Secret"
    problem = only(repository)
    assert (problem.path, problem.kind) == (path, ProblemKind.EXTRA)


def test_settings_that_changed_without_a_new_rendering(repository: dict[str, bytes]) -> None:
    path = "environments/prod.yaml"
    repository[path] = repository[path].replace(b"prod.models.example.com", b"example.org")
    assert [problem.path for problem in check(Files(repository))] == [f"{_FOLDER}/manifests/ingress.yaml"]
    repository["models/fraud/model.yaml"] = b"name: fraud\nscaling: {max: 9}"
    changed = [problem.path.removeprefix("models/fraud/") for problem in check(Files(repository))]
    assert changed == [
        "dev/manifests/horizontalpodautoscaler-canary.yaml",
        "dev/manifests/horizontalpodautoscaler-stable.yaml",
        "prod/manifests/horizontalpodautoscaler-canary.yaml",
        "prod/manifests/horizontalpodautoscaler-stable.yaml",
        "prod/manifests/ingress.yaml",
    ]


@pytest.mark.parametrize(
    ("path", "data", "says"),
    [
        ("environments/prod.yaml", b"name: [", "environments/prod.yaml is not YAML"),
        ("environments/Test.yaml", b"name: Test", "'Test' cannot name an environment"),
        ("models/fraud/model.yaml", b"name: fraud\nreplicas: 1", "replicas is not a setting here"),
        ("models/spam/model.yaml", b"name: fraud", "the folder's name says otherwise"),
        (
            "models/spam/model.yaml",
            b"name: spam\nenvironments: {prdo: {}}",
            "environments.prdo has no environments/prdo.yaml",
        ),
        ("models/fraud/prod/release.yaml", b"model: fraud", "environment is missing"),
    ],
)
def test_files_that_are_wrong_are_told_once(repository: dict[str, bytes], path: str, data: bytes, says: str) -> None:
    repository[path] = data
    problem = only(repository)
    assert (problem.path, problem.kind) == (path, ProblemKind.INVALID)
    assert says in problem.message


@pytest.mark.parametrize(
    ("path", "says"),
    [("environments/prod.yaml", "no environment prod"), ("models/fraud/model.yaml", "no model fraud")],
)
def test_settings_that_are_gone(repository: dict[str, bytes], path: str, says: str) -> None:
    del repository[path]
    problems = check(Files(repository))
    assert f"{_FOLDER}/release.yaml" in [problem.path for problem in problems]
    assert all(problem.kind is ProblemKind.INVALID and says in problem.message for problem in problems)


def test_a_release_that_is_gone_but_left_its_manifests(repository: dict[str, bytes]) -> None:
    del repository[f"{_FOLDER}/release.yaml"]
    problem = only(repository)
    assert (problem.path, problem.kind) == (f"{_FOLDER}/release.yaml", ProblemKind.MISSING)


def test_a_release_in_the_wrong_folder(repository: dict[str, bytes]) -> None:
    for path in [path for path in repository if path.startswith("models/fraud/dev/")]:
        repository[path.replace("/dev/", "/test/")] = repository.pop(path)
    problem = only(repository)
    assert (problem.path, problem.kind) == ("models/fraud/test/release.yaml", ProblemKind.INVALID)
    assert "move it to models/fraud/dev/release.yaml" in problem.message


def test_two_environments_in_one_namespace(repository: dict[str, bytes]) -> None:
    repository["environments/test.yaml"] = b"name: test\nnamespace: models-prod\ndomain: t.example.com"
    problem = only(repository)
    assert problem.path == "environments/test.yaml"
    assert "prod uses namespace models-prod of that cluster too" in problem.message


def test_two_environments_of_one_domain(repository: dict[str, bytes]) -> None:
    repository["environments/test.yaml"] = b"name: test\nnamespace: models-test\ndomain: prod.models.example.com"
    problem = only(repository)
    assert (problem.path, problem.kind) == ("environments/test.yaml", ProblemKind.INVALID)
    assert "prod has the domain prod.models.example.com too, change one" in problem.message


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("environments/old/prod.yaml", "takes it for an environment"),
        ("environments/a/b/notes.yaml", "takes it for an environment"),
        ("models/team/fraud/prod/release.yaml", "takes it for a release"),
        ("models/fraud/prod/prod/release.yaml", "takes it for a release"),
        ("models/fraud/prod/manifests/prod/release.yaml", "takes it for a release"),
    ],
)
def test_what_argo_cd_would_find_further_down(repository: dict[str, bytes], path: str, says: str) -> None:
    repository[path] = b"name: prod"
    problem = only(repository)
    assert (problem.path, problem.kind) == (path, ProblemKind.INVALID)
    assert says in problem.message


def test_two_applications_of_one_name() -> None:
    files = scaffold(["c", "b-c"], repo_url="https://git.example.com/acme/models.git")
    add(files, "a-b", "c")
    add(files, "a", "b-c")
    problem = only(files)
    assert problem.kind is ProblemKind.INVALID
    assert "a-b-c has the name of another's" in problem.message
