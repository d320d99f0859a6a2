"""What is true of either way to Argo CD: its HTTP API, and its resources in Kubernetes."""

import pytest

from gitops.argocd.applications import Applications
from registry.errors import InvalidInput, Refused, Unavailable
from tests.gitops.argocd.fake import TOKEN, FakeArgoCd, application, at, node, pod

COMMIT = "1" * 40
IMAGE = "registry.example/models/fraud@sha256:" + "7" * 64
LABELS = {"sluicegate.dev/model": "fraud", "sluicegate.dev/environment": "prod"}


def test_an_application_is_read_whole(argo: FakeArgoCd, applications: Applications) -> None:
    wrong = [{"type": "ComparisonError", "message": "no such path"}, {"type": "OrphanedResourceWarning", "message": ""}]
    argo.script("fraud-prod", application("fraud-prod", COMMIT, IMAGE, conditions=wrong))
    found = applications.read("fraud-prod")
    assert found is not None
    assert (found.name, found.whole, found.pending) == ("fraud-prod", True, False)
    assert (found.sync.status, found.revision, found.health.status) == ("Synced", COMMIT, "Healthy")
    assert found.operation.phase == "Succeeded"
    assert found.operation.finished_at is not None
    assert found.reconciled_at is not None
    assert found.reconciled_at.strftime("%Y-%m-%dT%H:%M:%SZ") == at(120)
    assert [error.type for error in found.errors] == ["ComparisonError"]
    assert found.images == {IMAGE}
    assert found.destination.in_cluster


def test_one_that_is_not_there_is_none(argo: FakeArgoCd, applications: Applications) -> None:
    assert applications.read("fraud-prod") is None


def test_an_operation_that_is_asked_for_and_one_that_runs(argo: FakeArgoCd, applications: Applications) -> None:
    running = {"phase": "Running", "startedAt": at(5), "message": "waiting for healthy state of apps/Deployment"}
    argo.script("a", {**application("a"), "operation": {"sync": {"revision": COMMIT}}})
    argo.script("b", application("b", operationState=running))
    asked, runs = applications.read("a"), applications.read("b")
    assert asked is not None
    assert asked.pending
    assert runs is not None
    assert runs.operation.running


def test_one_without_any_status_yet(argo: FakeArgoCd, applications: Applications) -> None:
    argo.script("a", {**application("a"), "status": {"sync": None, "health": None, "conditions": None, "summary": {}}})
    found = applications.read("a")
    assert found is not None
    assert (found.sync.status, found.revision, found.images, found.errors) == ("", "", frozenset(), ())


@pytest.mark.parametrize("status", [{"sync": "Synced"}, {"reconciledAt": "noon"}, {"conditions": [1]}])
def test_what_is_no_application(argo: FakeArgoCd, applications: Applications, status: dict[str, object]) -> None:
    argo.script("a", {**application("a"), "status": {**status, "operationState": {"finishedAt": "never"}}})
    with pytest.raises(InvalidInput, match="not an Application"):
        applications.read("a")


def test_every_application_in_one_go(argo: FakeArgoCd, applications: Applications) -> None:
    for number in range(40):
        argo.script(f"m{number}-prod", application(f"m{number}-prod", COMMIT, IMAGE))
    argo.script("other", application("other", project="default"))
    for found in (applications.overview(), applications.every()):
        assert set(found) == {f"m{number}-prod" for number in range(40)}
        assert {one.revision for one in found.values()} == {COMMIT}
        assert {one.sync.status for one in found.values()} == {"Synced"}
    assert len(argo.asked) == 2


def test_none_at_all(argo: FakeArgoCd, applications: Applications) -> None:
    assert applications.overview() == {}


def test_pods(argo: FakeArgoCd, applications: Applications) -> None:
    argo.script("fraud-prod", application("fraud-prod", COMMIT))
    argo.trees["fraud-prod"] = [
        node("stable", 7, IMAGE),
        node("stable", 6, "old", reason="Terminating"),
        node("stable", 5, "evicted", reason="Evicted", health="Degraded"),
    ]
    argo.pods = [
        pod("stable", 7, IMAGE),
        pod("stable", 6, "old", deletionTimestamp=at(0)),
        pod("stable", 5, "evicted", phase="Failed"),
        {**pod("stable", 9, "elsewhere"), "metadata": {"name": "x", "namespace": "models-prod", "labels": {}}},
    ]
    found = applications.read("fraud-prod")
    assert found is not None
    pods = applications.pods(found, LABELS)
    assert pods is not None
    assert [(one.labels["app.kubernetes.io/version"], IMAGE in one.images, one.gone) for one in pods] == [
        ("7", True, False),
        ("6", False, True),
        ("5", False, True),
    ]


def test_a_refresh_is_asked_for(argo: FakeArgoCd, applications: Applications) -> None:
    argo.script("fraud-prod", application("fraud-prod"))
    applications.refresh("fraud-prod")
    assert argo.refreshed == ["fraud-prod"]
    applications.refresh("nothing-prod")


def test_a_fault_that_passes(argo: FakeArgoCd, applications: Applications) -> None:
    argo.script("a", application("a", COMMIT))
    argo.faults.extend([503, "drop", 429])
    found = applications.read("a")
    assert found is not None
    assert found.revision == COMMIT


def test_a_fault_that_stays(argo: FakeArgoCd, applications: Applications) -> None:
    argo.faults.extend([500] * 5)
    with pytest.raises(Unavailable, match="500"):
        applications.read("a")
    argo.faults.extend(["drop"] * 5)
    with pytest.raises(Unavailable, match="cannot be reached"):
        applications.every()


def test_no_access(argo: FakeArgoCd, applications: Applications) -> None:
    argo.script("a", application("a"))
    argo.tokens.clear()
    for ask in (lambda: applications.read("a"), applications.every, lambda: applications.refresh("a")):
        with pytest.raises(Refused) as caught:
            ask()
        assert TOKEN not in str(caught.value)
    assert all(asked.size < 1000 for asked in argo.asked), "and it is not tried again and again"
    assert len(argo.asked) == 3


def test_what_is_no_argo_cd(argo: FakeArgoCd, applications: Applications) -> None:
    argo.faults.append("nonsense")
    with pytest.raises(InvalidInput):
        applications.read("a")
