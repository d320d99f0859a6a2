"""Looking at real git and at a fake Argo CD at the same time, either way it is asked."""

from __future__ import annotations

import pytest

from gitops.argocd.applications import Applications
from gitops.argocd.looking import Watched, standings
from gitops.argocd.truth import State
from gitops.manifests import Role
from gitops.message import Identity
from gitops.release import Deployed, Release, Runtime
from gitops.repository import Repository
from gitops.state import release_yaml
from gitops.tree import Change
from registry.errors import NotFound
from tests.gitops.argocd.fake import FakeArgoCd, application, node, pod
from tests.gitops.conftest import Office, Person


def _image(version: int) -> str:
    return f"registry.example/fraud@sha256:{version:064x}"


@pytest.fixture
def released(office: Office) -> str:
    """The commit that gave prod version 1 of fraud."""
    made = office.promote(1)
    assert made.commit
    return made.commit


def _runs(argo: FakeArgoCd, commit: str, *versions: int) -> None:
    """The cluster is at `commit`, with the first of the versions stable and the other one the canary."""
    argo.script("fraud-prod", application("fraud-prod", commit, *map(_image, versions)))
    roles = [str(role) for role in Role]
    argo.trees["fraud-prod"] = [node(role, one, _image(one)) for role, one in zip(roles, versions, strict=False)]
    argo.pods = [pod(role, one, _image(one)) for role, one in zip(roles, versions, strict=False)]


def test_from_nothing_to_healthy(
    argo: FakeArgoCd, applications: Applications, repository: Repository, released: str, office: Office
) -> None:
    watched = Watched(repository, applications, "fraud", "prod")
    assert watched.asked.commit == released
    assert watched.look()[""].state is State.UNKNOWN
    argo.script("fraud-prod", application("fraud-prod", health={"status": "Missing"}, sync={"status": "OutOfSync"}))
    assert watched.look()[""].state is State.PROGRESSING
    _runs(argo, released)
    assert watched.look()[""].why == "no stable pod runs the image of v1 yet"
    _runs(argo, released, 1)
    assert watched.look()[""].state is State.HEALTHY

    canary = office.promote(2, 10)
    assert watched.look()[""].by == canary.commit
    trial = Watched(repository, applications, "fraud", "prod")
    assert "has last looked at" in trial.look()[""].why
    assert canary.commit
    _runs(argo, canary.commit, 1)
    assert trial.look()[""].why == "no canary pod runs the image of v2 yet"
    _runs(argo, canary.commit, 1, 2)
    assert trial.look()[""].state is State.HEALTHY
    assert trial.look()[""].state is State.HEALTHY


def test_a_commit_of_another_model_changes_nothing(
    argo: FakeArgoCd, applications: Applications, repository: Repository, released: str, author: Identity
) -> None:
    watched = Watched(repository, applications, "fraud", "prod")
    other = Office(repository, author, "wine").promote(1)
    assert other.commit
    _runs(argo, other.commit, 1)
    assert watched.look()[""].state is State.HEALTHY


def test_a_commit_that_argo_cd_saw_first(
    argo: FakeArgoCd, applications: Applications, repository: Repository, released: str, person
) -> None:
    """It may be newer than all that was fetched so far."""
    watched = Watched(repository, applications, "fraud", "prod")
    someone: Person = person()
    _runs(argo, someone.commit({"notes.md": "hello\n"}, "Notes"), 1)
    assert watched.look()[""].state is State.HEALTHY


def test_pods_are_asked_for_only_where_all_else_is_well(
    argo: FakeArgoCd, applications: Applications, repository: Repository, released: str
) -> None:
    _runs(argo, released, 1)
    argo.script("fraud-prod", application("fraud-prod", released, health={"status": "Degraded"}))
    watched = Watched(repository, applications, "fraud", "prod")
    assert watched.look()[""].state is State.DEGRADED
    assert len(argo.asked) == 1


def test_pods_of_another_cluster_are_told_by_their_images(
    argo: FakeArgoCd, kube: Applications, repository: Repository, released: str
) -> None:
    far = application("fraud-prod", released, _image(1))
    far["spec"]["destination"] = {"server": "https://far.example", "namespace": "models-prod"}
    argo.script("fraud-prod", far)
    assert Watched(repository, kube, "fraud", "prod").look()[""].state is State.HEALTHY
    far["status"]["summary"] = {}
    assert Watched(repository, kube, "fraud", "prod").look()[""].state is State.PROGRESSING


def test_every_cluster_of_an_environment(
    argo: FakeArgoCd, applications: Applications, repository: Repository, released: str, person
) -> None:
    someone: Person = person()
    path = "environments/prod.yaml"
    clusters = "clusters:\n- {name: eu, server: https://eu.example}\n- {name: us, server: https://us.example}\n"
    text = (someone.folder / path).read_text()
    begin, end = text.index("cluster:\n"), text.index("# Several clusters")
    someone.commit({path: text[:begin] + clusters + text[end:]}, "Two clusters")
    argo.script("fraud-prod-eu", application("fraud-prod-eu", released, _image(1)))
    watched = Watched(repository, applications, "fraud", "prod")
    watched.refresh()
    assert argo.refreshed[0] == "fraud-prod-eu"
    argo.trees["fraud-prod-eu"] = [node("stable", 1, _image(1))]
    argo.pods = [pod("stable", 1, _image(1))]
    found = watched.look()
    assert {name: answer.state for name, answer in found.items()} == {"eu": State.HEALTHY, "us": State.UNKNOWN}
    _, (standing,) = standings(applications, repository)
    assert {name: answer.state for name, answer in standing.clusters.items()} == {
        "eu": State.HEALTHY,
        "us": State.UNKNOWN,
    }


def test_what_nobody_can_watch(applications: Applications, repository: Repository, released: str) -> None:
    with pytest.raises(NotFound, match="no environment moon"):
        Watched(repository, applications, "fraud", "moon")
    with pytest.raises(NotFound, match="No version of fraud runs in staging"):
        Watched(repository, applications, "fraud", "staging")


def _fill(repository: Repository, author: Identity, count: int) -> str:
    writes: dict[str, bytes | None] = {}
    for number in range(count):
        name = f"m{number}"
        stable = Deployed(version=1, image=_image(1), runtime=Runtime.TORCHSERVE)
        release = Release(model=name, environment="prod", stable=stable)
        writes[f"models/{name}/prod/release.yaml"] = release_yaml(release)
        writes[f"models/{name}/prod/manifests/deployment.yaml"] = f"name: {name}\n".encode()
    commit = repository.commit(lambda _: Change(writes=writes, subject="Many"), author=author)
    assert commit
    return commit.id


def test_the_state_of_all_costs_one_list_and_one_fetch_however_many_there_are(
    argo: FakeArgoCd,
    api: Applications,
    repository: Repository,
    office: Office,
    author: Identity,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 300
    commit = _fill(repository, author, count)
    for number in range(count):
        argo.script(f"m{number}-prod", application(f"m{number}-prod", commit, _image(1)))
    fetches: list[object] = []
    head = repository.head
    monkeypatch.setattr(repository, "head", lambda: fetches.append(1) or head())
    _, found = standings(api, repository)
    assert {standing.clusters[""].state for standing in found} == {State.HEALTHY}
    assert len(found) == count
    assert (len(argo.asked), len(fetches)) == (1, 1)
    (asked,) = argo.asked
    assert asked.query["projects"] == "sluice"
    api.every()
    whole = argo.asked[-1]
    assert asked.size < whole.size * 0.55
    assert asked.size / count < 1500


def test_what_the_short_list_leaves_open_is_asked_for_once_and_whole(
    argo: FakeArgoCd, api: Applications, repository: Repository, office: Office, author: Identity
) -> None:
    commit = _fill(repository, author, 20)
    # a comment in a manifest changed: it was compared and found the same, so that nothing had to be synced
    old = {"phase": "Succeeded", "startedAt": "2026-11-25T11:00:00Z", "finishedAt": "2026-11-25T11:00:00Z"}
    old["syncResult"] = {"revision": office.history()[-1].id if office.history() else "0" * 40}
    for number in range(20):
        argo.script(f"m{number}-prod", application(f"m{number}-prod", commit, _image(1), operationState=old))
    broken = [{"type": "ComparisonError", "message": "cannot build"}]
    argo.script("m3-prod", application("m3-prod", commit, _image(1), conditions=broken, sync={"status": "Unknown"}))
    _, found = standings(api, repository)
    assert len(argo.asked) == 2
    states = {standing.release.model: standing.clusters[""].state for standing in found}
    assert states.pop("m3") is State.FAILED
    assert set(states.values()) == {State.HEALTHY}


def test_a_release_of_an_environment_that_is_gone(
    argo: FakeArgoCd, applications: Applications, repository: Repository, released: str, person
) -> None:
    someone: Person = person()
    someone.commit({"environments/prod.yaml": None}, "Gone")
    _, (standing,) = standings(applications, repository)
    assert "there is no environments/prod.yaml" in standing.clusters[""].why
