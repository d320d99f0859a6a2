"""How commits relate, on real git."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gitops.argocd.commits import asked, reach, superseded_by
from gitops.argocd.truth import Reach
from gitops.message import Identity
from gitops.repository import Repository
from gitops.snapshot import Commit
from gitops.tree import Change
from registry.errors import InvalidInput, NotFound
from tests.gitops.conftest import Person, Releases


@pytest.fixture
def steps(releases: Releases) -> list[Commit]:
    """Version 1, then 2 at 10 % and at 50 % of fraud, and in between one of another model."""
    first = releases.promote(1)
    second = releases.promote(2, 10)
    other = releases.promote(1, model="wine")
    return [first, second, other, releases.promote(2, 50)]


def test_what_is_asked_about(repository: Repository, steps: list[Commit]) -> None:
    head = repository.head()
    newest = asked(head, "fraud", "prod")
    assert newest.commit == steps[3].id
    assert newest.release.canary is not None
    assert newest.release.canary.weight == 50
    assert asked(head, "fraud", "prod", steps[1].id[:9]).release.shares != newest.release.shares
    assert asked(head, "fraud", "prod", steps[2].id).commit == steps[1].id, "what it found there, it left"


def test_only_a_newer_commit_that_changed_the_same_supersedes(
    repository: Repository, releases: Releases, steps: list[Commit]
) -> None:
    head = repository.head()
    assert superseded_by(head, asked(head, "fraud", "prod")) is None
    assert superseded_by(head, asked(head, "fraud", "prod", steps[1].id)) == steps[3].id
    assert superseded_by(head, asked(head, "wine", "prod", steps[2].id)) is None
    earlier = asked(head, "fraud", "prod", steps[0].id)
    releases.roll_back(undo=[steps[3].id, steps[1].id])
    head = repository.head()
    assert superseded_by(head, earlier) is None, "it is as it was again"


def test_a_model_that_is_retired_is_superseded(
    repository: Repository, steps: list[Commit], person: Callable[[], Person]
) -> None:
    wanted = asked(repository.head(), "wine", "prod")
    files = repository.head().paths("models/wine/prod")
    gone = person().commit(dict.fromkeys(files), "Retire wine")
    assert superseded_by(repository.head(), wanted) == gone
    with pytest.raises(NotFound, match="No version of wine runs in prod"):
        asked(repository.head(), "wine", "prod")


def test_how_far_argo_cd_is(repository: Repository, releases: Releases, steps: list[Commit]) -> None:
    head = repository.head()
    wanted = asked(head, "fraud", "prod", steps[1].id)
    relations = [reach(head, wanted, commit.id) for commit in steps]
    assert relations == [Reach.BEFORE, Reach.SAME, Reach.SAME, Reach.BEFORE]
    assert reach(head, wanted, "") is Reach.NONE
    assert reach(head, wanted, "main") is Reach.NONE
    assert reach(head, wanted, "--help") is Reach.NONE
    assert reach(head, wanted, "f" * 40) is Reach.FOREIGN


def test_the_same_files_from_before_ours_are_not_ours(
    repository: Repository, releases: Releases, steps: list[Commit]
) -> None:
    back = releases.roll_back(undo=[steps[3].id, steps[1].id])
    assert repository.head().at(steps[0].id).tree_id("models/fraud/prod") == releases.tree()
    head = repository.head()
    wanted = asked(head, "fraud", "prod")
    assert wanted.commit == back.id
    assert reach(head, wanted, steps[0].id) is Reach.BEFORE
    assert reach(head, wanted, back.id) is Reach.SAME


def test_what_cannot_be_asked_about(
    repository: Repository, releases: Releases, steps: list[Commit], author: Identity
) -> None:
    head = repository.head()
    for text in ("main", "HEAD~1", "abc", "../x", ":/Rendered", "g" * 40, "-x"):
        with pytest.raises(InvalidInput, match="is not a commit"):
            asked(head, "fraud", "prod", text)
    with pytest.raises(NotFound, match="no commit"):
        asked(head, "fraud", "prod", "f" * 40)
    with pytest.raises(NotFound, match="No version of nobody"):
        asked(head, "nobody", "prod")
    change = Change(writes={"models/fraud/prod/manifests/x.yaml": b"x: 1\n"}, subject="x")
    aside = repository.propose(lambda _: change, author=author, branch="aside")
    assert aside is not None
    with pytest.raises(NotFound, match="not on the branch"):
        asked(head, "fraud", "prod", aside.id)
