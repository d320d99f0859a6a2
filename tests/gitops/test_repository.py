"""Each sentence of the contract in `gitops.repository`, on real remotes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gitops.message import Identity, parse
from gitops.repository import ATTEMPTS, Repository
from gitops.snapshot import Commit, Snapshot
from gitops.tree import Change
from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable

Run = Callable[..., str]
Hook = Callable[[str, str], None]
ROOT = Path(__file__).parents[2]


class Notes:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.facts: list[str] = []

    def bytes(self, what: str, done: int, total: int | None) -> None:
        raise AssertionError("no bytes are counted here")

    def fact(self, text: str) -> None:
        self.facts.append(text)


def write(files: Mapping[str, bytes | None], subject: str = "Write") -> Callable[[Snapshot], Change]:
    return lambda _: Change(writes=files, subject=subject)


def count(path: str) -> Callable[[Snapshot], Change]:
    """An intent that depends on what is there: it adds one to a number in a file."""
    return lambda head: Change(writes={path: b"%d\n" % (int(head.read(path) or b"0") + 1)}, subject=f"Count {path}")


def put(repository: Repository, author: Identity, files: Mapping[str, bytes | None]) -> Commit:
    commit = repository.commit(write(files), author=author)
    assert commit is not None
    return commit


def log(git: Run, remote: Path, form: str = "%H") -> list[str]:
    return git(remote, "log", f"--format={form}", "main").splitlines()


def assert_sound(git: Run, remote: Path) -> None:
    """Whole, linear, and with nothing in it but the branch."""
    git(remote, "fsck", "--strict", "--no-dangling")
    assert git(remote, "for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert all(len(line.split()) <= 1 for line in log(git, remote, "%P"))
    assert not list(remote.glob("**/*.lock"))
    assert not list((remote / "objects").glob("*incoming*"))


# reading


def test_a_remote_without_commits_is_an_empty_start(repository: Repository) -> None:
    head = repository.head()
    assert head.id is None
    assert head.commit is None
    assert (head.read("a"), head.paths(), head.tree_id(), head.tree_id("models")) == (None, [], None, None)
    assert list(head.commits(["models"])) == []


def test_a_snapshot_reads_files_and_folders(repository: Repository, author: Identity, git: Run, remote: Path) -> None:
    files = {"a/b.yaml": b"b\n", "a/c/d.bin": bytes(range(256)), "a b/\u00e9.txt": b"", "e": b"e"}
    put(repository, author, files)
    head = repository.head()
    assert {path: head.read(path) for path in head.paths()} == files
    assert head.paths() == sorted(files)
    assert head.paths("a") == head.paths("a/") == ["a/b.yaml", "a/c/d.bin"]
    assert head.paths("e") == ["e"]
    assert head.paths("a/b") == head.paths("nothing") == []
    assert head.tree_id("a") == git(remote, "rev-parse", "main:a")
    assert head.tree_id() == git(remote, "rev-parse", "main^{tree}")
    assert [head.tree_id(path) for path in ("e", "nothing", "a/b.yaml")] == [None] * 3
    for odd in ("", "a", "/e", "./e", "../e", "a//b.yaml", "a/../e", "e\n", "e\ne", "\0", "a/b.yaml/x", "*", ":e"):
        assert head.read(odd) is None


def test_a_symbolic_link_is_never_followed(
    repository: Repository, author: Identity, person: Callable[[], Any], git: Run
) -> None:
    put(repository, author, {"a/file": b"text"})
    clone = person()
    (clone.folder / "link").symlink_to("/etc/passwd")
    (clone.folder / "folder").symlink_to("a")
    git(clone.folder, "add", "-A")
    clone.commit({}, "Links")
    head = repository.head()
    assert head.read("link") == b"/etc/passwd"
    assert head.read("folder/file") is None
    with pytest.raises(Refused, match="folder is in the way of folder/new"):
        repository.commit(write({"folder/new": b""}), author=author)


def test_a_snapshot_lists_modes_and_ids(
    repository: Repository, author: Identity, person: Callable[[], Any], git: Run, remote: Path
) -> None:
    assert repository.head().entries() == {}
    first = put(repository, author, {"a/b \u00e9": b"text"})
    clone = person()
    (clone.folder / "a/run").write_text("#!/bin/sh\n")
    (clone.folder / "a/run").chmod(0o755)
    (clone.folder / "a/link").symlink_to("run")
    git(clone.folder, "add", "-A")
    git(clone.folder, "update-index", "--add", "--cacheinfo", f"160000,{first.id},a/module")
    git(clone.folder, "commit", "--quiet", "-m", "Modes")
    clone.push()
    head = repository.head()
    ids = {path: git(remote, "rev-parse", f"main:{path}") for path in head.paths()}
    assert head.paths("a") == ["a/b \u00e9", "a/link", "a/run"]
    assert head.entries("a") == {
        "a/b \u00e9": ("100644", ids["a/b \u00e9"]),
        "a/link": ("120000", ids["a/link"]),
        "a/module": ("160000", first.id),
        "a/run": ("100755", ids["a/run"]),
    }


def test_a_snapshot_stays_as_it_was(repository: Repository, author: Identity) -> None:
    put(repository, author, {"a": b"1"})
    before = repository.head()
    put(repository, author, {"a": b"2"})
    assert before.read("a") == b"1"
    assert repository.head().read("a") == b"2"
    assert repository.head().before().read("a") == b"1"
    assert repository.head().before().before().id is None


def test_commits_are_read_whatever_the_persons_configuration(
    repository: Repository, author: Identity, git: Run, tmp_path: Path
) -> None:
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(
            "[color]\n\tui = always\n[log]\n\tshowSignature = true\n\tdate = relative\n"
            "[i18n]\n\tlogOutputEncoding = UTF-16\n[diff]\n\tnoprefix = true\n\texternal = false\n"
            "[status]\n\tshort = false\n[core]\n\tquotePath = true\n"
        )
    first = put(repository, author, {"\u00e9": b"1\n"})
    second = put(repository, author, {"\u00e9": b"2\n"})
    head = repository.head()
    assert list(head.commits(["\u00e9"])) == [second, first]
    assert list(head.commits(["\u00e9"], limit=1)) == [second]
    assert list(head.commits([":(literal)*"])) == []
    assert head.before().diff(head, "\u00e9").splitlines()[-2:] == ["-1", "+2"]
    assert Snapshot(repository._objects, None).diff(head, "\u00e9").splitlines()[-1] == "+2"


def test_an_unknown_commit_is_not_found(repository: Repository, author: Identity) -> None:
    put(repository, author, {"a": b""})
    with pytest.raises(NotFound, match="history"):
        repository.head().at("0" * 40)


# what a commit is


def test_a_commit_has_the_head_as_its_only_parent_and_only_the_asked_paths(
    repository: Repository, author: Identity, git: Run, remote: Path
) -> None:
    first = put(repository, author, {"keep/a": b"a", "gone": b"g", "changed": b"1", "folder/x": b"x"})
    change = Change(
        writes={"changed": b"2", "gone": None, "new/deep/file": b"n", "folder/x": None, "never/there": None},
        subject="Subject \u00e9",
        body="Body.",
        trailers={"Action": "promote"},
    )
    begun = datetime.now(UTC) - timedelta(seconds=1)
    commit = repository.commit(lambda _: change, author=author, release_id="r-1")
    assert commit is not None
    assert commit.parents == (first.id,)
    assert git(remote, "rev-parse", "main", "main^{tree}").split() == [commit.id, commit.tree]
    shown = git(remote, "diff-tree", "-r", "--name-status", first.id, commit.id).split("\n")
    assert shown == ["M\tchanged", "D\tfolder/x", "D\tgone", "A\tnew/deep/file"]
    assert git(remote, "ls-tree", "-r", "--format=%(objectmode)", "main").split() == ["100644"] * 3
    assert git(remote, "log", "-1", "--format=%an <%ae>|%cn <%ce>", "main") == "|".join(
        ["Ann Ops <ann@example.org>"] * 2
    )
    assert parse(commit.message) == ("Subject \u00e9", "Body.", {"Release-Id": "r-1", "Action": "promote"})
    assert begun <= commit.time <= datetime.now(UTC)
    assert commit.time.tzinfo == UTC
    assert_sound(git, remote)


def test_each_commit_has_a_release_id_of_its_own(repository: Repository, author: Identity) -> None:
    ids = {parse(put(repository, author, {"a": bytes([number])}).message)[2]["Release-Id"] for number in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("files", [{}, {"a": b"1"}, {"nothing": None}, {"a": b"1", "b/c": None}])
def test_a_change_that_changes_nothing_is_no_commit(
    repository: Repository, author: Identity, git: Run, remote: Path, files: dict[str, bytes | None]
) -> None:
    first = put(repository, author, {"a": b"1"})
    assert repository.commit(write(files), author=author) is None
    assert repository.commit(lambda _: None, author=author) is None
    assert log(git, remote) == [first.id]


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "../a", "a/../b", ".", ".git/config", "x/.GIT/hooks", "a\nb", "a\0b", "a\\b", "\x1b[2J"],
)
def test_paths_that_mean_something_else_are_refused(
    repository: Repository, author: Identity, path: str, git: Run, remote: Path
) -> None:
    with pytest.raises(InvalidInput, match="cannot be a file"):
        repository.commit(write({path: b"x"}), author=author)
    assert git(remote, "for-each-ref") == ""


def test_a_file_is_never_replaced_by_a_folder_nor_a_folder_by_a_file(repository: Repository, author: Identity) -> None:
    put(repository, author, {"a/b": b"", "file": b""})
    for path in ("a", "file/x", "a/b/c/d"):
        with pytest.raises(Refused, match="in the way"):
            repository.commit(write({path: b""}), author=author)


# many writers


def test_a_moved_branch_means_a_new_change_on_the_new_head(
    repository: Repository, remote: Path, tmp_path: Path, author: Identity, git: Run
) -> None:
    put(repository, author, {"n": b"1\n"})
    notes, heads = Notes(), []

    def intent(head: Snapshot) -> Change:
        heads.append(head.id)
        if len(heads) <= 2:
            with Repository.open(str(remote), cache=tmp_path / "other") as other:
                assert other.commit(count("n"), author=author)
        return count("n")(head)

    commit = repository.commit(intent, author=author, progress=notes)
    assert commit is not None
    assert len(set(heads)) == 3
    assert repository.head().read("n") == b"4\n"
    assert commit.parents == (heads[-1],)
    assert notes.facts == [
        f"Another commit reached main of {remote} first. Trying again (2 of {ATTEMPTS}).",
        f"Another commit reached main of {remote} first. Trying again (3 of {ATTEMPTS}).",
    ]
    assert_sound(git, remote)


def test_a_branch_that_always_moves_is_a_conflict(remote: Path, cache: Path, author: Identity, git: Run) -> None:
    waits: list[float] = []
    with Repository.open(str(remote), cache=cache, sleep=waits.append) as repository:
        put(repository, author, {"n": b"0"})

        def intent(head: Snapshot) -> Change:
            tree = git(remote, "rev-parse", "main^{tree}")
            git(remote, "update-ref", "refs/heads/main", git(remote, "commit-tree", tree, "-p", "main", "-m", "x"))
            return write({"mine": b""})(head)

        with pytest.raises(Conflict, match=f"{ATTEMPTS} times: try again when"):
            repository.commit(intent, author=author)
        assert len(waits) == ATTEMPTS - 1
        assert repository.head().read("mine") is None


def test_an_intent_that_makes_no_sense_any_more_leaves_no_trace(
    repository: Repository, author: Identity, git: Run, remote: Path
) -> None:
    first = put(repository, author, {"a": b"1"})

    def intent(head: Snapshot) -> Change:
        raise Conflict("Another version is the canary.")

    with pytest.raises(Conflict, match="Another version"):
        repository.commit(intent, author=author)
    assert log(git, remote) == [first.id]
    assert_sound(git, remote)


_WRITER = """
import sys
from pathlib import Path
from gitops.message import Identity
from gitops.repository import Repository
from gitops.tree import Change

remote, cache, name, times = sys.argv[1:]
with Repository.open(remote, cache=Path(cache)) as repository:
    print("ready", flush=True)
    for _ in range(int(times)):
        def intent(head):
            def one_more(path):
                return b"%d\\n" % (int(head.read(path) or b"0") + 1)
            return Change(
                writes={path: one_more(path) for path in (f"models/{name}/n", "all")}, subject=f"Count {name}"
            )
        repository.commit(intent, author=Identity(name=name, email=f"{name}@example.org"))
"""


def start_writer(remote: str, cache: Path, name: str, times: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, remote, str(cache), name, str(times)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(cache.parent)},
        start_new_session=True,
    )


def test_processes_lose_no_commit_even_in_one_file(
    repository: Repository, remote: Path, cache: Path, author: Identity, git: Run
) -> None:
    put(repository, author, {"all": b"0\n"})
    writers = [start_writer(str(remote), cache, f"m{number}", 5) for number in range(6)]
    for writer in writers:
        _, err = writer.communicate(timeout=60)
        assert writer.returncode == 0, err
    head = repository.head()
    assert head.read("all") == b"30\n"
    assert [head.read(f"models/m{number}/n") for number in range(6)] == [b"5\n"] * 6
    assert len(log(git, remote)) == 31
    assert_sound(git, remote)


def test_threads_share_a_repository(repository: Repository, author: Identity, git: Run, remote: Path) -> None:
    put(repository, author, {"all": b"0\n"})

    def work(_: int) -> bytes | None:
        repository.commit(count("all"), author=author)
        return repository.head().read("all")

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(work, range(12)))
    assert repository.head().read("all") == b"12\n"
    assert None not in seen
    assert len(log(git, remote)) == 13


def test_two_who_begin_an_empty_repository_at_once(repository: Repository, tmp_path: Path, author: Identity) -> None:
    calls = []

    def intent(head: Snapshot) -> Change:
        calls.append(head.id)
        if head.id is None:
            with Repository.open(repository.remote, cache=tmp_path / "other") as other:
                put(other, author, {"theirs": b""})
        return write({"mine": b""})(head)

    assert repository.commit(intent, author=author)
    assert calls[0] is None
    assert len(calls) == 2
    assert repository.head().paths() == ["mine", "theirs"]


def test_slow_hooks_only_make_it_slow(remote: Path, cache: Path, author: Identity, git: Run, hook: Hook) -> None:
    hook("pre-receive", "sleep 0.2")
    with Repository.open(str(remote), cache=cache) as repository:
        put(repository, author, {"all": b"0\n"})
        with ThreadPoolExecutor(3) as pool:
            assert all(pool.map(lambda _: repository.commit(count("all"), author=author), range(3)))
        assert repository.head().read("all") == b"3\n"
    assert_sound(git, remote)


# failures


def test_a_hook_that_declines_is_quoted_and_nothing_changed(
    repository: Repository, author: Identity, git: Run, remote: Path, hook: Hook
) -> None:
    first = put(repository, author, {"a": b"1"})
    hook("pre-receive", "echo 'Frozen until \033[31mMonday\033[0m.' >&2; exit 1")
    with pytest.raises(Refused, match=r"declined the commit \(Frozen until Monday\)"):
        repository.commit(write({"a": b"2"}), author=author)
    assert log(git, remote) == [first.id]
    assert_sound(git, remote)


@pytest.mark.parametrize(
    ("name", "when", "computed"), [("pre-receive", "", 2), ("reference-transaction", "committed", 1)]
)
def test_a_connection_that_dies_around_the_update_makes_one_commit(
    name: str,
    when: str,
    computed: int,
    repository: Repository,
    author: Identity,
    git: Run,
    remote: Path,
    hook: Hook,
    tmp_path: Path,
) -> None:
    put(repository, author, {"n": b"0\n"})
    died = tmp_path / "died"
    hook(name, f'[ "$1" = "{when}" ] && [ ! -e {died} ] && touch {died} && kill -9 $PPID; exit 0')
    calls = []

    def intent(head: Snapshot) -> Change:
        calls.append(head.id)
        return count("n")(head)

    commit = repository.commit(intent, author=author)
    assert died.exists()
    assert commit is not None
    assert log(git, remote) == [commit.id, *commit.parents]
    assert repository.head().read("n") == b"1\n"
    assert len(calls) == computed


def test_a_connection_that_always_dies_is_unavailable(
    remote: Path, cache: Path, author: Identity, git: Run, hook: Hook
) -> None:
    waits: list[float] = []
    with Repository.open(str(remote), cache=cache, sleep=waits.append) as repository:
        first = put(repository, author, {"n": b"0\n"})
        hook("pre-receive", "kill -9 $PPID")
        with pytest.raises(Unavailable, match="cannot be reached"):
            repository.commit(count("n"), author=author)
        assert len(waits) == ATTEMPTS - 1
        assert log(git, remote) == [first.id]


def test_an_answer_lost_on_the_last_attempt_is_looked_up_too(
    remote: Path, cache: Path, author: Identity, git: Run, hook: Hook, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    with Repository.open(str(remote), cache=cache, sleep=lambda _: None) as repository:
        put(repository, author, {"n": b"0\n"})
        hook("pre-receive", f"echo >> {tries}; [ $(wc -l < {tries}) -ge {ATTEMPTS} ] || kill -9 $PPID")
        hook("reference-transaction", '[ "$1" = committed ] && kill -9 $PPID; exit 0')
        commit = repository.commit(count("n"), author=author)
        assert commit is not None
        assert log(git, remote) == [commit.id, *commit.parents]


def test_a_push_that_comes_through_late_counts_though_it_beat_the_last_attempt(
    remote: Path, cache: Path, author: Identity, git: Run, hook: Hook, tmp_path: Path
) -> None:
    pushed, calls = tmp_path / "pushed", []
    with Repository.open(str(remote), cache=cache, sleep=lambda _: None) as repository:
        first = put(repository, author, {"n": b"0\n"})
        hook("pre-receive", f"read old new ref; echo $new >> {pushed}; kill -9 $PPID")

        def intent(head: Snapshot) -> Change:
            calls.append(head.id)
            if len(calls) == ATTEMPTS:
                (only,) = cache.iterdir()
                hook("pre-receive", "exit 0")
                git(only, "push", str(remote), f"{pushed.read_text().split()[0]}:refs/heads/main")
            return write({"n": b"%d\n" % len(calls)})(head)

        commit = repository.commit(intent, author=author)
        assert calls == [first.id] * ATTEMPTS
        assert commit is not None
        assert log(git, remote) == [commit.id, first.id]
        assert repository.head().read("n") == b"1\n"


def test_a_lock_that_stays_on_the_remote_is_named(remote: Path, cache: Path, author: Identity) -> None:
    with Repository.open(str(remote), cache=cache, sleep=lambda _: None) as repository:
        put(repository, author, {"n": b"0\n"})
        (remote / "refs/heads/main.lock").touch()
        with pytest.raises(Conflict, match=r"locked by another git process.*\.lock file"):
            repository.commit(count("n"), author=author)


def test_a_lost_answer_is_looked_up_and_not_repeated(
    server: Any, cache: Path, author: Identity, git: Run, remote: Path
) -> None:
    with Repository.open(server.url, cache=cache) as repository:
        put(repository, author, {"n": b"0\n"})
        server.drop_pushes = 1
        commit = repository.commit(count("n"), author=author)
        assert server.drop_pushes == 0
        assert commit is not None
        assert log(git, remote)[0] == commit.id
        assert repository.head().read("n") == b"1\n"


def test_a_lost_answer_counts_even_when_others_committed_on_top(
    server: Any, cache: Path, tmp_path: Path, author: Identity, git: Run, remote: Path, hook: Hook
) -> None:
    with Repository.open(server.url, cache=cache) as repository:
        put(repository, author, {"n": b"0\n"})
        flag = tmp_path / "flag"
        hook(
            "post-update",
            f"[ -e {flag} ] || {{ touch {flag}; git update-ref refs/heads/main"
            " $(git -c user.name=O -c user.email=o@example.org commit-tree -p main -m Other main^{tree}); }",
        )
        server.drop_pushes = 1
        commit = repository.commit(count("n"), author=author)
        assert commit is not None
        assert log(git, remote, "%s") == ["Other", "Count n", "Write"]
        assert log(git, remote)[1] == commit.id


@pytest.mark.parametrize(
    ("statuses", "kind", "part"),
    [
        ([401], Refused, "credential helper"),
        ([403], Refused, "access"),
        ([404], NotFound, "no git repository"),
        ([503] * 4, Unavailable, "503"),
        ([0] * 4, Unavailable, "cannot be reached"),
    ],
)
def test_what_a_server_answers_is_one_sentence(
    server: Any, cache: Path, statuses: list[int], kind: type[SluiceError], part: str
) -> None:
    waits: list[float] = []
    server.status = list(statuses)
    with Repository.open(server.url, cache=cache, sleep=waits.append) as repository:
        with pytest.raises(kind, match=part) as caught:
            repository.head()
        assert len(waits) == len(statuses) - 1
        assert type(caught.value) is kind
        assert server.status == []
        assert repository.head().id is None


def test_a_server_in_trouble_is_asked_again(server: Any, cache: Path, author: Identity) -> None:
    with Repository.open(server.url, cache=cache, sleep=lambda _: None) as repository:
        server.status = [503, 0, 502]
        put(repository, author, {"a": b"1"})
        assert repository.head().read("a") == b"1"


def test_nothing_listens(tmp_path: Path, cache: Path, server: Any) -> None:
    server.server_close()
    waits: list[float] = []
    for url in (server.url, server.url.replace("http", "ssh")):
        with (
            Repository.open(url, cache=cache, sleep=waits.append) as repository,
            pytest.raises(Unavailable, match="cannot be reached"),
        ):
            repository.head()
    assert len(waits) == 6


def test_no_repository_there(tmp_path: Path, cache: Path, author: Identity) -> None:
    with Repository.open(str(tmp_path / "nothing"), cache=cache) as repository:
        with pytest.raises(NotFound, match=r"no git repository at .*nothing"):
            repository.head()
        with pytest.raises(NotFound, match="no git repository"):
            repository.commit(write({"a": b""}), author=author)


def test_another_branch_is_named(repository: Repository, author: Identity, remote: Path, cache: Path) -> None:
    put(repository, author, {"a": b""})
    with (
        Repository.open(str(remote), "prod", cache=cache) as other,
        pytest.raises(NotFound, match=r"no branch prod.*main"),
    ):
        other.head()


@pytest.mark.parametrize("branch", ["", "a b", "-x", "a..b", "main.lock", "a\nb", "@{-1}", "a:b", "*", "a\0b"])
def test_an_odd_branch_is_refused(remote: Path, cache: Path, branch: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a branch"):
        Repository.open(str(remote), branch, cache=cache)


def test_a_token_that_configuration_puts_into_the_address_never_shows(
    server: Any, cache: Path, tmp_path: Path, author: Identity
) -> None:
    base = server.url.removesuffix("remote.git")
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(f'[url "{base.replace("://", "://x-access-token:s3cret@")}"]\n\tinsteadOf = {base}\n')
    server.status = [403]
    with Repository.open(server.url, cache=cache) as repository, pytest.raises(Refused) as caught:
        repository.head()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_persons_credential_helper_is_asked(server: Any, cache: Path, tmp_path: Path, author: Identity) -> None:
    with (tmp_path / "gitconfig").open("a") as config:
        config.write('[credential]\n\thelper = "!f() { echo username=ann; echo password=s3cret; }; f"\n')
    server.status = [401]
    with Repository.open(server.url, cache=cache) as repository:
        assert repository.head().id is None


# killed at any instant


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.04, 0.06, 0.1])
def test_killed_and_run_again_it_ends_in_the_same_state(
    delay: float, server: Any, cache: Path, author: Identity, git: Run, remote: Path
) -> None:
    with Repository.open(server.url, cache=cache) as repository:
        put(repository, author, {"all": b"0\n"})
        writer = start_writer(server.url, cache, "killed", 1)
        assert writer.stdout
        assert writer.stderr
        assert writer.stdout.readline() == "ready\n"
        time.sleep(delay)
        os.killpg(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        writer.stderr.close()
        time.sleep(0.15)  # a server finishes what it has begun

        def intent(head: Snapshot) -> Change:
            return Change(writes={"models/killed/n": b"1\n", "all": b"1\n"}, subject="Count killed")

        commit = repository.commit(intent, author=author)
        head = repository.head()
        assert (head.read("all"), head.read("models/killed/n")) == (b"1\n", b"1\n")
        assert log(git, remote, "%s") == ["Count killed", "Write"]
        assert (commit is None) == (log(git, remote, "%an")[0] == "killed")
    assert_sound(git, remote)


# a work tree as the remote


@pytest.fixture
def work_tree(repository: Repository, author: Identity, person: Callable[[], Any]) -> Path:
    put(repository, author, {"models/a": b"1\n", "other": b"1\n"})
    return Path(person().folder)


def test_a_work_tree_with_changes_in_the_same_files_is_left_alone(
    work_tree: Path, cache: Path, author: Identity
) -> None:
    (work_tree / "models/a").write_text("mine\n")
    (work_tree / "models/new").write_text("mine\n")
    with Repository.open(str(work_tree), cache=cache) as repository:
        for path in ("models/a", "models/new"):
            with pytest.raises(Refused, match=f"uncommitted changes in {path}: commit or stash"):
                repository.commit(write({path: b"2\n"}), author=author)
    assert (work_tree / "models/a").read_text() == "mine\n"


def test_a_checked_out_branch_is_not_pushed_under(work_tree: Path, cache: Path, author: Identity, git: Run) -> None:
    with Repository.open(str(work_tree), cache=cache) as repository:
        with pytest.raises(Refused, match="give a bare repository"):
            repository.commit(write({"models/a": b"2\n"}), author=author)
        git(work_tree, "checkout", "--quiet", "-b", "mine")
        assert repository.commit(write({"models/a": b"2\n"}), author=author)
        assert repository.head().read("models/a") == b"2\n"
    assert (work_tree / "models/a").read_text() == "1\n"


# the cache


def test_the_cache_is_bare_keeps_no_refs_and_may_be_deleted(
    repository: Repository, cache: Path, author: Identity, git: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for number in range(3):
        put(repository, author, {"a": b"%d" % number})
    (only,) = cache.iterdir()
    assert git(only, "rev-parse", "--is-bare-repository") == "true"
    assert len(git(only, "for-each-ref").splitlines()) == 1
    assert list(temporary.iterdir()) == []
    head = repository.head()
    shutil.rmtree(cache)
    assert repository.head().read("a") == b"2"
    assert head.id == repository.head().id
    put(repository, author, {"a": b"3"})
    repository.close()
    assert repository.head().read("a") == b"3"


@pytest.mark.parametrize("damage", ["HEAD", "objects", "file"])
def test_a_broken_cache_is_made_anew(remote: Path, cache: Path, author: Identity, damage: str) -> None:
    with Repository.open(str(remote), cache=cache) as repository:
        put(repository, author, {"a": b"1"})
    (only,) = cache.iterdir()
    if damage == "HEAD":
        (only / "HEAD").unlink()
    else:
        shutil.rmtree(only / "objects")
    with Repository.open(str(remote), cache=cache) as repository:
        assert repository.head().read("a") == b"1"


def test_locks_of_dead_processes_in_the_cache_do_not_matter(
    repository: Repository, cache: Path, author: Identity
) -> None:
    put(repository, author, {"a": b"1"})
    (only,) = cache.iterdir()
    lock = only / f"{repository._cache.ref}.lock"
    locks = [only / name for name in ("packed-refs.lock", "HEAD.lock", "index.lock", "config.lock", "FETCH_HEAD.lock")]
    for path in (lock, *locks):
        path.touch()
    put(repository, author, {"a": b"2"})
    assert lock.exists()
    os.utime(lock, (0, 0))
    put(repository, author, {"a": b"3"})
    assert not lock.exists()
    assert repository.head().read("a") == b"3"


def test_a_cache_that_lasts_gets_an_index_of_the_history(repository: Repository, cache: Path, author: Identity) -> None:
    put(repository, author, {"a": b"1"})
    (only,) = cache.iterdir()
    graphs = only / "objects/info/commit-graphs"
    assert not graphs.exists()
    os.utime(only / "config", (0, 0))
    put(repository, author, {"b": b"1"})
    assert list(graphs.glob("*.graph"))
    newest = put(repository, author, {"a": b"2"})
    assert next(repository.head().commits(["a"])) == newest
    (graphs / "commit-graph-chain.lock").touch()
    put(repository, author, {"a": b"3"})
    assert len(list(repository.head().commits(["a"]))) == 3


def test_two_remotes_share_no_cache(tmp_path: Path, remote: Path, cache: Path, author: Identity, git: Run) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "second.git")
    with (
        Repository.open(str(remote), cache=cache) as one,
        Repository.open(str(tmp_path / "second.git"), cache=cache) as two,
    ):
        put(one, author, {"a": b"1"})
        assert two.head().id is None
    assert len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_refused(tmp_path: Path, remote: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match=r"cache .* cannot be written"):
        Repository.open(str(remote), cache=tmp_path / "file" / "cache")


# the surroundings


def test_inside_a_hook_of_another_repository_nothing_leaks_in(
    repository: Repository, author: Identity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, git: Run, remote: Path
) -> None:
    git(tmp_path, "init", "--quiet", "elsewhere")
    for name, value in {
        "GIT_DIR": "elsewhere/.git",
        "GIT_WORK_TREE": "elsewhere",
        "GIT_INDEX_FILE": "elsewhere/index",
        "GIT_OBJECT_DIRECTORY": "elsewhere/.git/objects",
        "GIT_QUARANTINE_PATH": "elsewhere/.git/objects",
        "GIT_NAMESPACE": "odd",
    }.items():
        monkeypatch.setenv(name, str(tmp_path / value) if "/" in value or value == "elsewhere" else value)
    put(repository, author, {"a": b"1"})
    assert repository.head().paths() == ["a"]
    monkeypatch.undo()
    assert list((tmp_path / "elsewhere").iterdir()) == [tmp_path / "elsewhere/.git"]
    assert git(remote, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_the_persons_hooks_do_not_run(server: Any, cache: Path, author: Identity, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-push", "reference-transaction", "post-commit"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(f"[core]\n\thooksPath = {hooks}\n[push]\n\tfollowTags = true\n\tgpgSign = if-asked\n")
    with Repository.open(server.url, cache=cache) as repository:
        put(repository, author, {"a": b"1"})
        assert repository.head().read("a") == b"1"
    assert not (tmp_path / "ran").exists()


def test_the_persons_ssh_command_is_used(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "ssh"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho "ssh: Could not resolve hostname x" >&2\nexit 255\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    with (
        Repository.open("git@ops.invalid:a/b.git", cache=cache, sleep=lambda _: None) as repository,
        pytest.raises(Unavailable),
    ):
        repository.head()
    assert "BatchMode" not in (tmp_path / "asked").read_text()


def test_ssh_is_told_not_to_ask(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/ssh"
    script.write_text(
        f'#!/bin/sh\necho "$@" "$GIT_TERMINAL_PROMPT" >> {tmp_path}/asked\n'
        'echo "Permission denied (publickey)." >&2\nexit 255\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with Repository.open("ssh://ops.invalid/b.git", cache=cache) as repository, pytest.raises(Refused, match="ssh key"):
        repository.head()
    asked = (tmp_path / "asked").read_text()
    assert "BatchMode=yes" in asked
    assert asked.endswith(" 0\n")
