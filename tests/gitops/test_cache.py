"""What the cache holds: few files, no configuration, and what was seen on the branch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gitops.message import Identity
from gitops.repository import Repository
from gitops.snapshot import Commit
from gitops.tree import Change
from registry.errors import Refused, Unavailable

Run = Callable[..., str]


def put(repository: Repository, author: Identity, files: dict[str, bytes | None]) -> Commit:
    commit = repository.commit(lambda _: Change(writes=files, subject="Write"), author=author)
    assert commit is not None
    return commit


def move(git: Run, remote: Path, to: str | None) -> None:
    git(remote, "update-ref", "refs/heads/main", to) if to else git(remote, "update-ref", "-d", "refs/heads/main")


def blobs(git: Run, cache: Path) -> int:
    """How many files the cache has."""
    (only,) = cache.iterdir()
    kinds = git(only, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)")
    return kinds.split().count("blob")


# blobless

MANY = {f"models/m{number}/prod/{name}": b"%d %s" % (number, name.encode()) for number in range(9) for name in "abc"}


@pytest.fixture
def filled(remote: Path, tmp_path: Path, author: Identity) -> Commit:
    with Repository.open(str(remote), cache=tmp_path / "elsewhere") as repository:
        return put(repository, author, {**MANY, "environments/prod.yaml": b"p", "environments/test.yaml": b"t"})


@pytest.fixture
def far(server: Any, cache: Path, filled: Commit) -> Iterator[Repository]:
    with Repository.open(server.url, cache=cache, sleep=lambda _: None) as repository:
        yield repository


def test_files_come_when_they_are_read_with_those_around_them(far: Repository, git: Run, cache: Path) -> None:
    head = far.head()
    assert sorted(path for path in head.paths() if path in MANY) == sorted(MANY)
    assert head.kind("models/m1/prod/a") == "blob"
    assert head.kind("models/m1/prod") == "tree"
    assert head.kind("models/m1/prod/none") is None
    assert blobs(git, cache) == 0
    assert head.read("models/m1/prod/a") == b"1 a"
    assert blobs(git, cache) == 3
    assert head.read("environments/prod.yaml") == b"p"
    assert blobs(git, cache) == 5


def test_what_is_read_next_comes_in_one_request(far: Repository, server: Any) -> None:
    head = far.head()
    asked = len(server.requests)
    head.prefetch([path for path in MANY if path.endswith("/b")])
    once = len(server.requests) - asked
    head.prefetch([path for path in MANY if path.endswith("/b")])
    assert [head.read(f"models/m{number}/prod/b") for number in range(9)] == [b"%d b" % number for number in range(9)]
    assert len(server.requests) - asked == once
    assert server.requests[asked:].count("/remote.git/git-upload-pack") == 1
    head.prefetch([])
    head.prefetch(["nothing/there"])
    assert len(server.requests) - asked == once


def test_a_commit_asks_for_no_file_that_it_does_not_read(
    far: Repository, server: Any, git: Run, cache: Path, author: Identity, remote: Path
) -> None:
    put(far, author, {"models/new/prod/a": b"new"})
    assert blobs(git, cache) == 1
    put(far, author, {"models/m1/prod/a": b"changed"})
    assert blobs(git, cache) == 1 + 3 + 1
    assert git(remote, "show", "main:models/m1/prod/a") == "changed"


def test_what_changed_is_shown_though_neither_side_is_here(far: Repository, author: Identity, person: Any) -> None:
    clone = person()
    clone.commit({"models/m1/prod/a": "other\n"}, "By hand")
    head = far.head()
    assert head.before().diff(head, "models/m1").splitlines()[-2:] == ["\\ No newline at end of file", "+other"]


def test_a_remote_without_filters_gives_everything(far: Repository, git: Run, cache: Path, remote: Path) -> None:
    git(remote, "config", "--unset", "uploadpack.allowFilter")
    assert far.head().read("models/m1/prod/a") == b"1 a"
    assert blobs(git, cache) == len(MANY) + 2


def test_a_server_that_gives_no_file_alone_gives_everything(
    far: Repository, server: Any, git: Run, cache: Path
) -> None:
    server.old = True
    head = far.head()
    assert blobs(git, cache) == 0
    assert head.read("models/m1/prod/a") == b"1 a"
    assert blobs(git, cache) == len(MANY) + 2


def test_a_file_that_cannot_be_had_is_unavailable_and_comes_later(far: Repository, server: Any) -> None:
    head = far.head()
    server.status = [503] * 4
    with pytest.raises(Unavailable, match="503"):
        head.read("models/m1/prod/a")
    assert head.read("models/m1/prod/a") == b"1 a"


def test_git_can_pack_a_cache_that_lacks_files(far: Repository, git: Run, cache: Path, author: Identity) -> None:
    for number in range(3):
        put(far, author, {"models/m1/prod/a": b"%d" % number})
    far.head().read("models/m2/prod/a")
    before = blobs(git, cache)
    far._cache.git.run("gc", "--quiet", "--prune=now")
    assert blobs(git, cache) == before
    head = far.head()
    assert [head.read(f"models/m{number}/prod/a") for number in (1, 2, 3)] == [b"2", b"2 a", b"3 a"]
    put(far, author, {"models/m4/prod/a": b"5"})


def test_the_caches_configuration_names_no_remote(far: Repository, git: Run, cache: Path, author: Identity) -> None:
    put(far, author, {"models/m1/prod/a": b"1"})
    (only,) = cache.iterdir()
    settings = git(only, "config", "--local", "--list", "--name-only").splitlines()
    assert settings
    assert {name.partition(".")[0] for name in settings} == {"core"}


# what was seen on the branch


def test_history_that_was_rewritten_is_refused_until_the_cache_is_deleted(
    repository: Repository, author: Identity, git: Run, remote: Path, cache: Path
) -> None:
    first = put(repository, author, {"a": b"1"})
    second = put(repository, author, {"a": b"2"})
    other = git(remote, "commit-tree", first.tree, "-p", first.id, "-m", "Another second")
    move(git, remote, other)
    (only,) = cache.iterdir()
    for _ in range(2):
        with pytest.raises(Refused, match="was rewritten") as caught:
            put(repository, author, {"a": b"3"})
        assert second.id[:12] in str(caught.value)
        assert f"delete {only} to begin" in str(caught.value)
        assert git(remote, "rev-parse", "main") == other
    shutil.rmtree(only)
    assert put(repository, author, {"a": b"3"}).parents == (other,)


def test_a_branch_that_went_back_may_be_a_replica_that_lags(
    remote: Path, cache: Path, author: Identity, git: Run
) -> None:
    waits: list[float] = []
    ids: list[str] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(ids) > 2:
            move(git, remote, ids[1])

    with Repository.open(str(remote), cache=cache, sleep=sleep) as repository:
        ids += [put(repository, author, {"a": b"%d" % number}).id for number in range(2)]
        move(git, remote, ids[0])
        with pytest.raises(Refused, match=rf"is back at {ids[0][:12]}, though {ids[1][:12]} was there.*lags"):
            put(repository, author, {"a": b"3"})
        assert len(waits) == 3
        assert git(remote, "rev-parse", "main") == ids[0]
        ids.append("it catches up")
        assert put(repository, author, {"a": b"3"}).parents == (ids[1],)


def test_a_remote_that_was_emptied_is_refused(
    repository: Repository, author: Identity, git: Run, remote: Path, cache: Path
) -> None:
    put(repository, author, {"a": b"1"})
    move(git, remote, None)
    with pytest.raises(Refused, match=r"is empty, for .* was its newest commit"):
        put(repository, author, {"a": b"2"})
    assert git(remote, "for-each-ref") == ""


def test_one_who_fetches_late_is_no_alarm_and_takes_nothing_back(
    repository: Repository, author: Identity, git: Run, remote: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(repository, author, {"a": b"1"})
    with Repository.open(str(remote), cache=cache) as slow:
        check = slow._cache._check_kept

        def late(known: str | None, commit_id: str) -> None:
            put(repository, author, {"a": b"3"})
            check(known, commit_id)

        monkeypatch.setattr(slow._cache, "_check_kept", late)
        tree = git(remote, "rev-parse", "main^{tree}")
        second = git(remote, "commit-tree", tree, "-p", first.id, "-m", "Second")
        move(git, remote, second)
        assert slow.head().id == second
    (only,) = cache.iterdir()
    assert git(only, "rev-parse", repository._cache.ref) == git(remote, "rev-parse", "main")
    assert repository.head().before().id == second


def test_a_ref_without_its_commit_in_the_cache_is_as_none(
    repository: Repository, author: Identity, cache: Path, remote: Path
) -> None:
    put(repository, author, {"a": b"1"})
    (only,) = cache.iterdir()
    (only / repository._cache.ref).write_text("1" * 40 + "\n")
    assert repository.head().read("a") == b"1"


def test_an_index_of_the_history_does_not_hide_a_rewrite(
    repository: Repository, author: Identity, cache: Path, remote: Path, git: Run
) -> None:
    first = put(repository, author, {"a": b"1"})
    (only,) = cache.iterdir()
    os.utime(only / "config", (0, 0))
    put(repository, author, {"a": b"2"})
    move(git, remote, git(remote, "commit-tree", first.tree, "-m", "Root"))
    with pytest.raises(Refused, match="rewritten"):
        repository.head()
