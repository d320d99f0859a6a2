"""What a promotion refuses, on real git: versions that are held, and names that are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from gitops.history import held, history
from gitops.message import Identity
from gitops.operations import Rollback, init_in, promote_in, roll_back_in
from gitops.promote import Promotion
from gitops.release import Deployed, Runtime
from gitops.repository import Repository
from registry.errors import Conflict, Refused
from registry.progress import Silent


class Desk:
    """Releases models as the commands do, with everything rendered."""

    def __init__(self, repository: Repository, author: Identity) -> None:
        self.repository = repository
        self.author = author

    def begin(self, *environments: str) -> None:
        init_in(self.repository, environments, "https://git.example.com/acme/models.git", self.author, Silent())

    def promote(self, model: str, environment: str, version: int, unhold: str = "") -> str | None:
        image = f"registry.example/{model}@sha256:{version:064x}"
        to = Deployed(version=version, image=image, runtime=Runtime.TORCHSERVE)
        wanted = Promotion(model=model, environment=environment, to=to, weight=100, requested_by="ann", unhold=unhold)
        return promote_in(self.repository, wanted, self.author, Silent()).commit

    def roll_back(self, model: str, environment: str) -> str | None:
        wanted = Rollback(model=model, environment=environment, requested_by="ann")
        return roll_back_in(self.repository, wanted, self.author, Silent()).commit


@pytest.fixture
def desk(repository: Repository, author: Identity) -> Desk:
    return Desk(repository, author)


@pytest.mark.parametrize("limit", [None, 3])
def test_a_hold_outlives_a_persons_merge(desk: Desk, person: Callable[[], Any], git: Any, limit: int | None) -> None:
    desk.begin("prod")
    first = desk.promote("fraud", "prod", 1)
    clone = person()
    (clone.folder / "notes.md").write_text("unrelated\n")
    git(clone.folder, "add", "notes.md")
    git(clone.folder, "commit", "--quiet", "-m", "Unrelated")
    second = desk.promote("fraud", "prod", 2)
    back = desk.roll_back("fraud", "prod")
    git(clone.folder, "pull", "--quiet", "--no-rebase", "--no-edit")
    assert len(git(clone.folder, "rev-parse", "HEAD^@").split()) == 2
    clone.push()

    head = desk.repository.head()
    assert [commit.id for commit in history(head, "fraud", "prod", limit)] == [back, second, first]
    assert [commit.id for commit in history(head, environment="prod", limit=limit)] == [back, second, first]
    assert held(history(head, "fraud", "prod")) == {2}
    with pytest.raises(Refused, match=r"fraud@2 was rolled back from prod and is held"):
        desk.promote("fraud", "prod", 2)
    assert desk.promote("fraud", "prod", 2, unhold="the data was wrong, not the model")


def test_every_commit_is_listed_where_no_path_is_asked_for(
    desk: Desk, person: Callable[[], Any], git: Any, remote: Any
) -> None:
    desk.begin("prod")
    clone = person()
    git(clone.folder, "commit", "--quiet", "--allow-empty", "-m", "Nothing")
    desk.promote("fraud", "prod", 1)
    git(clone.folder, "pull", "--quiet", "--no-rebase", "--no-edit")
    clone.push()
    found = [commit.id for commit in desk.repository.head().commits([])]
    assert len(found) == 4
    assert set(found) == set(git(remote, "rev-list", "main").split())


def test_a_release_whose_application_has_anothers_name_is_a_conflict(desk: Desk) -> None:
    desk.begin("prod", "eu-prod", "b-eu-prod")
    desk.promote("fraud-eu", "prod", 1)
    before = desk.repository.head().id
    with pytest.raises(
        Conflict,
        match="fraud in eu-prod and fraud-eu in prod would both be the Argo CD Application fraud-eu-prod: give the"
        " model another name, or remove models/fraud-eu/prod first",
    ):
        desk.promote("fraud", "eu-prod", 1)
    assert desk.repository.head().id == before
    assert desk.promote("fraud", "prod", 1)
    assert desk.promote("fraud-eu", "prod", 2)
    assert desk.promote("fraud-eu", "eu-prod", 1)
    desk.promote("a", "b-eu-prod", 1)
    with pytest.raises(Conflict, match="a-b in eu-prod and a in b-eu-prod would both"):
        desk.promote("a-b", "eu-prod", 1)
    with pytest.raises(Conflict, match="a-b-eu in prod and a in b-eu-prod would both"):
        desk.promote("a-b-eu", "prod", 1)


def test_a_clusters_name_counts_as_well(desk: Desk, person: Callable[[], Any]) -> None:
    desk.begin("prod", "eu")
    clone = person()
    path = clone.folder / "environments/prod.yaml"
    told = yaml.safe_load(path.read_text())
    del told["cluster"]
    told["clusters"] = [{"name": "eu", "server": "https://eu.example"}, {"name": "us", "server": "https://us.example"}]
    clone.commit({"environments/prod.yaml": yaml.safe_dump(told)}, "Two clusters")
    desk.promote("fraud", "prod", 1)
    with pytest.raises(
        Conflict, match=r"fraud-prod in eu and fraud in prod would both be .* Application fraud-prod-eu"
    ):
        desk.promote("fraud-prod", "eu", 1)
    desk.promote("wine-prod", "eu", 1)
    with pytest.raises(Conflict, match=r"wine in prod and wine-prod in eu would both be .* Application wine-prod-eu"):
        desk.promote("wine", "prod", 1)


def test_a_split_that_makes_no_names_is_nobodys(desk: Desk) -> None:
    desk.begin("prod")
    long = "a" * 34 + "-2-bcd"
    assert len(long) == 40
    assert desk.promote(long, "prod", 1)


def test_a_volume_is_named_by_its_model_and_a_rollback_brings_the_image_back(desk: Desk, git: Any, remote: Any) -> None:
    desk.begin("prod")
    desk.promote("fraud", "prod", 1)
    tree = desk.repository.head().tree_id("models/fraud/prod")
    server, model = (
        f"registry.example/{name}@sha256:{digit * 64}" for name, digit in (("server", "5"), ("fraud", "7"))
    )
    to = Deployed(version=2, image=server, runtime=Runtime.TORCHSERVE, volume=model)
    wanted = Promotion(model="fraud", environment="prod", to=to, weight=100, requested_by="ann")
    outcome = promote_in(desk.repository, wanted, desk.author, Silent())
    assert outcome.release is not None
    assert outcome.release.stable == to
    said = git(remote, "log", "-1", "--format=%(trailers:key=Image-Digest,valueonly)", "main")
    assert said.strip() == model.partition("@")[2]
    assert promote_in(desk.repository, wanted, desk.author, Silent()).commit is None
    assert desk.roll_back("fraud", "prod")
    assert desk.repository.head().tree_id("models/fraud/prod") == tree
