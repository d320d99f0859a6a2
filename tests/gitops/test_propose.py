"""A commit on a branch of its own, on real remotes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitops.message import Identity
from gitops.pushing import ATTEMPTS
from gitops.repository import Repository
from gitops.snapshot import Commit, Snapshot
from gitops.tree import Change
from registry.errors import Conflict, InvalidInput, Refused, Unavailable

Run = Callable[..., str]
Hook = Callable[[str, str], None]
BRANCH = "sluice/fraud-prod-7"


def write(content: bytes) -> Callable[[Snapshot], Change]:
    return lambda _: Change(writes={"a": content}, subject="Write")


@pytest.fixture
def first(repository: Repository, author: Identity) -> Commit:
    commit = repository.commit(write(b"1"), author=author)
    assert commit is not None
    return commit


def propose(repository: Repository, author: Identity, content: bytes = b"2", branch: str = BRANCH) -> Commit:
    commit = repository.propose(write(content), author=author, branch=branch)
    assert commit is not None
    return commit


def refs(git: Run, remote: Path) -> dict[str, str]:
    lines = git(remote, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)").splitlines()
    return dict(line.split() for line in lines)


def test_a_proposal_is_one_commit_on_a_branch_of_its_own(
    repository: Repository, first: Commit, author: Identity, git: Run, remote: Path
) -> None:
    proposed = propose(repository, author)
    assert proposed.parents == (first.id,)
    assert refs(git, remote) == {"main": first.id, BRANCH: proposed.id}
    assert repository.tip(BRANCH) == proposed.id
    head = repository.head()
    assert (head.id, head.read("a")) == (first.id, b"1")
    merged = repository.commit(write(b"3"), author=author)
    assert merged is not None
    assert merged.parents == (first.id,)


def test_nothing_to_change_makes_no_branch(
    repository: Repository, first: Commit, author: Identity, git: Run, remote: Path
) -> None:
    assert repository.propose(write(b"1"), author=author, branch=BRANCH) is None
    assert repository.propose(lambda _: None, author=author, branch=BRANCH) is None
    assert refs(git, remote) == {"main": first.id}


def test_a_branch_that_is_there_is_never_moved_not_even_forward(
    repository: Repository, first: Commit, author: Identity, git: Run, remote: Path
) -> None:
    git(remote, "branch", BRANCH, first.id)
    with pytest.raises(Conflict, match=f"has a branch {BRANCH} already, at {first.id[:12]}: choose another name"):
        propose(repository, author)
    assert refs(git, remote) == {"main": first.id, BRANCH: first.id}


def test_a_branch_that_comes_up_meanwhile_is_never_moved(
    repository: Repository, first: Commit, author: Identity, git: Run, remote: Path, hook: Hook
) -> None:
    hook("pre-receive", f"unset GIT_QUARANTINE_PATH; git update-ref refs/heads/{BRANCH} {first.id}")
    with pytest.raises(Conflict, match="already"):
        propose(repository, author)
    assert refs(git, remote) == {"main": first.id, BRANCH: first.id}


@pytest.mark.parametrize("branch", ["main", "a b", "-x", "HEAD", "x.lock", "a:b", "a\nb"])
def test_branches_that_are_none_of_a_proposal_are_refused(
    repository: Repository, first: Commit, author: Identity, git: Run, remote: Path, branch: str
) -> None:
    with pytest.raises((Refused, InvalidInput), match=r"branch of its own|cannot name a branch"):
        propose(repository, author, branch=branch)
    with pytest.raises((Refused, InvalidInput), match=r"branch of its own|cannot name a branch"):
        repository.delete_branch(branch, first.id)
    assert refs(git, remote) == {"main": first.id}


def test_a_branch_below_another_branch_is_refused(repository: Repository, first: Commit, author: Identity) -> None:
    with pytest.raises(Refused, match="give another branch"):
        propose(repository, author, branch="main/x")


def test_a_lost_answer_is_looked_up_and_not_repeated(
    server: Any, first: Commit, cache: Path, author: Identity, git: Run, remote: Path
) -> None:
    with Repository.open(server.url, cache=cache, sleep=lambda _: None) as repository:
        server.drop_pushes = 1
        proposed = propose(repository, author)
        assert server.drop_pushes == 0
    assert refs(git, remote) == {"main": first.id, BRANCH: proposed.id}


def test_a_lost_answer_on_the_last_attempt_counts_too(
    repository: Repository, first: Commit, author: Identity, git: Run, remote: Path, hook: Hook, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    hook("pre-receive", f"echo >> {tries}; [ $(wc -l < {tries}) -ge {ATTEMPTS} ] || kill -9 $PPID")
    hook("reference-transaction", '[ "$1" = committed ] && kill -9 $PPID; exit 0')
    with Repository.open(str(remote), cache=tmp_path / "other", sleep=lambda _: None) as other:
        proposed = propose(other, author)
    assert refs(git, remote) == {"main": first.id, BRANCH: proposed.id}


def test_a_connection_that_always_dies_makes_no_branch(
    first: Commit, cache: Path, author: Identity, git: Run, remote: Path, hook: Hook
) -> None:
    hook("pre-receive", "kill -9 $PPID")
    with (
        Repository.open(str(remote), cache=cache, sleep=lambda _: None) as repository,
        pytest.raises(Unavailable, match="cannot be reached"),
    ):
        propose(repository, author)
    assert refs(git, remote) == {"main": first.id}


def test_a_branch_is_deleted_only_where_it_is_what_it_was(
    repository: Repository, first: Commit, author: Identity, git: Run, remote: Path
) -> None:
    proposed = propose(repository, author)
    with pytest.raises(Conflict, match=f"is at {proposed.id[:12]} and no longer at {first.id[:12]}"):
        repository.delete_branch(BRANCH, first.id)
    for odd in ("", "HEAD", proposed.id[:12], proposed.id + "\n"):
        with pytest.raises(InvalidInput, match="is no commit"):
            repository.delete_branch(BRANCH, odd)
    assert repository.tip(BRANCH) == proposed.id
    repository.delete_branch(BRANCH, proposed.id)
    assert refs(git, remote) == {"main": first.id}
    repository.delete_branch(BRANCH, proposed.id)
    assert repository.tip(BRANCH) is None


def test_a_branch_that_moves_while_it_is_deleted_stays(
    first: Commit, cache: Path, author: Identity, git: Run, remote: Path, hook: Hook
) -> None:
    with Repository.open(str(remote), cache=cache, sleep=lambda _: None) as repository:
        proposed = propose(repository, author)
        hook("pre-receive", f"unset GIT_QUARANTINE_PATH; git update-ref refs/heads/{BRANCH} {first.id}")
        with pytest.raises(Conflict, match=f"is at {first.id[:12]} and no longer at"):
            repository.delete_branch(BRANCH, proposed.id)
    assert refs(git, remote) == {"main": first.id, BRANCH: first.id}


def test_another_branch_that_ends_alike_is_not_taken_for_it(
    repository: Repository, first: Commit, git: Run, remote: Path
) -> None:
    git(remote, "branch", f"other/refs/heads/{BRANCH}", first.id)
    assert repository.tip(BRANCH) is None
