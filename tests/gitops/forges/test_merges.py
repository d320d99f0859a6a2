"""What people's ways to merge a request make of Sluice's commit, and that Sluice knows it again: with real git."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gitops.forges import ForgeKind
from gitops.message import Identity
from gitops.repository import Repository
from gitops.requests import propose_in
from registry.progress import Silent
from tests.gitops.forges.conftest import At
from tests.gitops.forges.test_requests import wanted

Merge = Callable[[Any, str], None]
OTHER = {"environments/notes.txt": "somebody else's\n"}


def merge_commit(person: Any, branch: str) -> None:
    """GitHub's and GitLab's default, and CodeCommit's three-way merge."""
    text = f"Merge pull request #1 from acme/{branch}\n\nfraud: prod canary v7 at 10 %"
    person.git(person.folder, "merge", "--quiet", "--no-ff", "-m", text, f"origin/{branch}")


def squash(person: Any, branch: str) -> None:
    """GitHub's "Default message" of one commit: the number is put after the subject, the body is as it was."""
    subject, _, body = person.git(person.folder, "log", "-1", "--format=%B", f"origin/{branch}").partition("\n")
    person.git(person.folder, "merge", "--quiet", "--squash", f"origin/{branch}")
    person.git(person.folder, "commit", "--quiet", "-m", f"{subject} (#1)\n{body}")


def squash_with_a_co_author(person: Any, branch: str) -> None:
    """GitHub, where somebody else opened the request than wrote the commit."""
    subject, _, body = person.git(person.folder, "log", "-1", "--format=%B", f"origin/{branch}").partition("\n")
    person.git(person.folder, "merge", "--quiet", "--squash", f"origin/{branch}")
    added = "---------\n\nCo-authored-by: Ann Ops <ann@example.org>"
    person.git(person.folder, "commit", "--quiet", "-m", f"{subject} (#1)\n{body}\n\n{added}")


def squash_with_another_subject(person: Any, branch: str) -> None:
    """Somebody types a subject of their own, and Windows line ends come with it."""
    _, _, body = person.git(person.folder, "log", "-1", "--format=%B", f"origin/{branch}").partition("\n")
    person.git(person.folder, "merge", "--quiet", "--squash", f"origin/{branch}")
    text = f"Ship it\n\nBecause.\n{body}".replace("\n", "\r\n")
    person.git(person.folder, "commit", "--quiet", "--cleanup=verbatim", "-F", "-", stdin=text)


def rebase(person: Any, branch: str) -> None:
    """GitHub's rebase merging, and GitLab's fast-forward of a branch that lags: the same commit with another id."""
    person.git(person.folder, "cherry-pick", f"origin/{branch}")


@pytest.mark.parametrize("moved", [False, True], ids=["at-once", "main-moved"])
@pytest.mark.parametrize(
    "merge",
    [merge_commit, squash, squash_with_a_co_author, squash_with_another_subject, rebase],
    ids=lambda one: one.__name__,
)
def test_a_merged_request_is_a_release_like_any_other(
    merge: Merge,
    moved: bool,
    made: Callable[[ForgeKind], At],
    office: Any,
    repository: Repository,
    author: Identity,
    person: Callable[[], Any],
) -> None:
    at = made(ForgeKind.GITHUB)
    office.promote(6)
    before = office.tree()
    proposed = propose_in(repository, at.forge, wanted(), author, Silent()).request
    assert proposed
    somebody = person()
    if moved:
        somebody.commit(OTHER, "Notes")
    merge(somebody, proposed.branch)
    somebody.push()
    repository.delete_branch(proposed.branch, proposed.commit)

    newest = office.history()[0]
    assert newest.by_sluice
    assert (newest.version, newest.weight, newest.action) == (7, 10, "promote")
    assert newest.requested_by == "Ann <ann@example.org>"
    assert [one.version for one in office.history()] == [7, 6]

    office.promote(7, 50)
    undone = office.roll_back()
    assert undone.release.stable.version == 6
    assert undone.release.canary is None
    assert office.tree() == before
    assert office.held() == {7}


def test_a_persons_revert_of_what_was_merged_holds_the_version(
    made: Callable[[ForgeKind], At],
    office: Any,
    repository: Repository,
    author: Identity,
    person: Callable[[], Any],
) -> None:
    at = made(ForgeKind.GITHUB)
    office.promote(6)
    before = office.tree()
    proposed = propose_in(repository, at.forge, wanted(), author, Silent()).request
    assert proposed
    somebody = person()
    squash(somebody, proposed.branch)
    somebody.push()
    somebody.revert("HEAD")
    assert office.tree() == before
    assert office.held() == {7}


def test_a_persons_revert_of_the_merge_holds_the_version(
    made: Callable[[ForgeKind], At],
    office: Any,
    repository: Repository,
    author: Identity,
    person: Callable[[], Any],
) -> None:
    at = made(ForgeKind.GITHUB)
    office.promote(6)
    before = office.tree()
    proposed = propose_in(repository, at.forge, wanted(), author, Silent()).request
    assert proposed
    somebody = person()
    merge_commit(somebody, proposed.branch)
    somebody.push()
    somebody.revert("-m", "1", "HEAD")
    assert office.tree() == before
    assert office.held() == {7}
    office.promote(8, 10)
    office.roll_back()
    assert office.tree() == before
    assert office.held() == {7, 8}
