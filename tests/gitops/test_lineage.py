"""What git's history says of versions, as the registry asks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gitops.lineage import GitReleases
from gitops.message import Identity
from gitops.operations import Rollback, init_in, promote_in, roll_back_in
from gitops.promote import Promotion
from gitops.release import Deployed, Runtime
from gitops.repository import Repository
from registry.errors import InvalidInput, NotFound, Refused
from registry.facts import Source
from registry.lineage import NoReleases
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage


def ref(number: int) -> VersionRef:
    return VersionRef(model="fraud", number=number)


class Desk:
    def __init__(self, repository: Repository, author: Identity) -> None:
        self.repository, self.author = repository, author
        init_in(repository, ["staging", "prod"], "https://git.example.com/acme/models.git", author, Silent())
        self.releases = GitReleases(lambda: repository)

    def promote(self, environment: str, version: int, weight: int = 100, model: str = "fraud") -> str:
        image = f"registry.example/{model}@sha256:{version:064x}"
        to = Deployed(version=version, image=image, runtime=Runtime.TORCHSERVE)
        wanted = Promotion(model=model, environment=environment, to=to, weight=weight, requested_by="ann")
        commit = promote_in(self.repository, wanted, self.author, Silent()).commit
        assert commit is not None
        return commit

    def roll_back(self, environment: str) -> str:
        wanted = Rollback(model="fraud", environment=environment, requested_by="bob")
        commit = roll_back_in(self.repository, wanted, self.author, Silent()).commit
        assert commit is not None
        return commit


@pytest.fixture
def desk(repository: Repository, author: Identity) -> Desk:
    return Desk(repository, author)


def test_stable_and_canary_versions_are_named_and_others_are_not(desk: Desk) -> None:
    assert desk.releases.naming("fraud") == {}
    desk.promote("staging", 1)
    desk.promote("staging", 2)
    desk.promote("prod", 1)
    desk.promote("prod", 2, 10)
    desk.promote("prod", 9, model="churn")
    assert desk.releases.naming("fraud") == {1: ["prod"], 2: ["prod", "staging"]}


def test_a_release_of_another_model_that_cannot_be_read_does_not_matter(desk: Desk, person: Callable[[], Any]) -> None:
    desk.promote("prod", 1)
    person().commit({"models/churn/prod/release.yaml": "model: churn\n"}, "Oops")
    assert desk.releases.naming("fraud") == {1: ["prod"]}


def test_a_versions_commits_newest_first_with_the_rollback_that_took_it_back(desk: Desk) -> None:
    first = desk.promote("prod", 1)
    step = desk.promote("prod", 2, 10)
    back = desk.roll_back("prod")
    found = desk.releases.of(ref(2))
    assert [(one.commit, one.action, one.weight) for one in found][-1] == (step, "promote", 10)
    assert [one.commit for one in found] == [back, step]
    assert {(one.environment, one.by) for one in found} == {("prod", "ann"), ("prod", "bob")}
    assert first in [one.commit for one in desk.releases.of(ref(1))]


def test_what_a_commit_deployed(desk: Desk) -> None:
    commit = desk.promote("prod", 3)
    (deployed,) = desk.releases.by(commit[:9])
    assert (deployed.commit, deployed.model, deployed.number) == (commit, "fraud", 3)
    with pytest.raises(NotFound, match="No commit 0123456 changed a release"):
        desk.releases.by("0123456")


@pytest.mark.parametrize("commit", ["", "abc", "HEAD", "--all", "g" * 40, "A" * 40])
def test_what_is_no_commit_is_refused(desk: Desk, commit: str) -> None:
    with pytest.raises(InvalidInput, match="is not a commit"):
        desk.releases.by(commit)


def test_a_released_version_cannot_be_deleted(desk: Desk, source_of: Callable[[str], Source]) -> None:
    registry = Registry(Storage.memory(), releases=desk.releases)
    for job in ("j1", "j2"):
        registry.register("fraud", source_of(job), actor="ann")
    desk.promote("prod", 1)
    with pytest.raises(Refused, match=r"fraud@1 is released to prod: roll back or promote another version first"):
        registry.delete(ref(1), actor="ann")
    with pytest.raises(Refused, match=r"fraud@1 is released to prod"):
        registry.delete_model("fraud", actor="ann")
    assert [row.number for row in registry.versions("fraud")] == [2, 1]
    registry.delete(ref(2), actor="ann")
    commits = registry.lineage(ref(1)).deployments
    assert [(one.environment, one.number) for one in commits] == [("prod", 1)]
    assert registry.deployed_by(commits[0].commit) == commits


@pytest.fixture
def source_of() -> Callable[[str], Source]:
    def make(job: str) -> Source:
        return Source.model_validate(
            {
                "uri": f"s3://training/{job}/model.tar.gz",
                "size": 3,
                "training": {"job": job, "arn": f"arn:aws:sagemaker:eu-west-1:1:training-job/{job}", "image": "x"},
            }
        )

    return make


def test_without_a_repository_nothing_is_released() -> None:
    assert NoReleases().naming("fraud") == {}
    assert NoReleases().of(ref(1)) == ()
    with pytest.raises(NotFound, match="No GitOps repository is set"):
        NoReleases().by("abcdef0")
