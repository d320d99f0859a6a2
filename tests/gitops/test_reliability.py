"""Killed at every git command, stalled, and watched: what is left, and what others see."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gitops.message import Identity
from gitops.operations import init_in, promote_in
from gitops.promote import Promotion
from gitops.release import Deployed, Runtime
from gitops.repository import Repository
from gitops.tree import Change
from registry.errors import InvalidInput, Refused, Unavailable
from registry.progress import Silent

Run = Callable[..., str]
Hook = Callable[[str, str], None]


def write(repository: Repository, author: Identity, path: str = "a", content: bytes = b"1") -> str:
    commit = repository.commit(lambda _: Change(writes={path: content}, subject="Write"), author=author)
    assert commit is not None
    return commit.id


# killed at every git command

# $1… is git's command line; the n-th call kills the Python process that made it
_WRAPPER = """#!/bin/sh
n=$(( $(cat "{count}" 2>/dev/null || echo 0) + 1 ))
echo $n > "{count}"
if [ $n = "$KILL_AT" ]; then
    case $KILL_HOW in
    before) kill -9 $PPID; exit 1 ;;
    after) "{git}" "$@"; status=$?; kill -9 $PPID; exit $status ;;
    orphaned) kill -9 $PPID; "{git}" "$@" </dev/stdin >/dev/null 2>&1; touch "{done}"; exit ;;
    esac
fi
exec "{git}" "$@"
"""


class Killing(NamedTuple):
    """A `git` that kills, and what it left."""

    folder: Path
    calls: Path
    done: Path


@pytest.fixture
def killing(tmp_path: Path) -> Killing:
    found = Killing(tmp_path / "bin", tmp_path / "count", tmp_path / "done")
    found.folder.mkdir()
    script = found.folder / "git"
    script.write_text(_WRAPPER.format(count=found.calls, done=found.done, git=shutil.which("git")))
    script.chmod(0o755)
    return found


def promotion(version: int) -> Promotion:
    image = f"registry.example/fraud@sha256:{version:064x}"
    to = Deployed(version=version, image=image, runtime=Runtime.TORCHSERVE)
    return Promotion(model="fraud", environment="prod", to=to, weight=100, requested_by="ann")


def promote(remote: str, cache: Path, author: Identity) -> None:
    with Repository.open(remote, cache=cache) as repository:
        promote_in(repository, promotion(2), author, Silent())


def in_a_child(work: Callable[[], None], environment: dict[str, str]) -> int:
    """Do it in a process of its own, and give its exit status, negative for the signal that killed it."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.environ.update(environment)
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("over", "how", "warm"),
    [
        ("http", "before", False),
        ("http", "after", False),
        ("http", "orphaned", True),
        ("file", "orphaned", False),
    ],
)
def test_killed_at_every_git_command_and_run_again_it_ends_in_the_same_state(
    over: str,
    how: str,
    warm: bool,
    killing: Killing,
    remote: Path,
    server: Any,
    tmp_path: Path,
    author: Identity,
    git: Run,
) -> None:
    address = server.url if over == "http" else str(remote)
    with Repository.open(str(remote), cache=tmp_path / "elsewhere") as repository:
        init_in(repository, ["prod"], "https://git.example.com/acme/models.git", author, Silent())
        before = promote_in(repository, promotion(1), author, Silent()).commit
        promote_in(repository, promotion(2), author, Silent())
        wanted = git(remote, "rev-parse", "main^{tree}")
    path = f"{killing.folder}:{os.environ['PATH']}"
    calls = 0
    while True:
        calls += 1
        git(remote, "update-ref", "refs/heads/main", str(before))
        cache = tmp_path / f"cache-{calls}"
        if warm:
            with Repository.open(address, cache=cache) as repository:
                repository.head().read("models/fraud/prod/release.yaml")
        killing.calls.unlink(missing_ok=True)
        killing.done.unlink(missing_ok=True)
        told = {"PATH": path, "KILL_AT": str(calls), "KILL_HOW": how}
        status = in_a_child(lambda cache=cache: promote(address, cache, author), told)  # type: ignore[misc]
        if status == 0:
            break
        assert status == -signal.SIGKILL
        promote(address, cache, author)
        if how == "orphaned":
            deadline = time.monotonic() + 30
            while not killing.done.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert killing.done.exists()
        assert git(remote, "rev-parse", "main^{tree}", "main~1").split() == [wanted, before]
        assert not list(remote.glob("refs/**/*.lock"))
        with Repository.open(address, cache=cache) as repository:
            head = repository.head()
            assert head.read("models/fraud/prod/release.yaml")
            repository._cache.git.run("fsck", "--no-dangling")
        shutil.rmtree(cache)
    assert int(killing.calls.read_text()) == calls - 1
    assert calls > 8


# stalled


@pytest.fixture
def hanging(hook: Hook, tmp_path: Path) -> Iterator[None]:
    """A remote whose hook hangs, until the test is over."""
    pids = tmp_path / "pids"
    hook("pre-receive", f"echo $$ >> {pids}; exec sleep 60")
    yield
    for pid in pids.read_text().split():
        os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize("over", ["file", "http"])
def test_a_hook_that_hangs_is_given_up_once_and_leaves_no_commit(
    over: str, remote: Path, server: Any, cache: Path, author: Identity, git: Run, request: pytest.FixtureRequest
) -> None:
    waits: list[float] = []
    address = server.url if over == "http" else str(remote)
    with Repository.open(address, cache=cache, sleep=waits.append) as repository:
        first = write(repository, author)
        request.getfixturevalue("hanging")
        repository._cache.git.longest = 1.0
        with pytest.raises(Unavailable, match=r"stalls.*no answer in 1 seconds"):
            write(repository, author, content=b"2")
        assert waits == []
        assert git(remote, "rev-parse", "main") == first
        assert repository.head().id == first


def test_a_push_that_stalls_after_it_arrived_counts(
    remote: Path, cache: Path, author: Identity, git: Run, hook: Hook, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    with Repository.open(str(remote), cache=cache) as repository:
        write(repository, author)
        hook("post-receive", f"echo $$ >> {pids}; exec sleep 60")
        repository._cache.git.longest = 1.0
        second = write(repository, author, content=b"2")
    assert git(remote, "rev-parse", "main") == second
    os.kill(int(pids.read_text()), signal.SIGKILL)


# secrets

_TOKEN = "s3cret-token"
_BASIC = "Basic YW5uOnMzY3JldC10b2tlbg=="  # ann:s3cret-token


class Watch:
    """Looks at every process of this machine each time that the server is asked."""

    def __init__(self, server: Any) -> None:
        self.seen: set[str] = set()
        server.looks = self.look
        server.wants = _BASIC

    def look(self) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.seen.add(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
            except OSError:  # it ended
                continue


def _helper_in_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    script = tmp_path / "helper"
    script.write_text(f"#!/bin/sh\necho username=ann\necho password={_TOKEN}\n")
    script.chmod(0o755)
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(f"[credential]\n\thelper = {script}\n")


def _askpass_in_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    script = tmp_path / "askpass"
    script.write_text('#!/bin/sh\ncase $1 in User*) echo ann ;; *) echo "$OPS_TOKEN" ;; esac\n')
    script.chmod(0o755)
    monkeypatch.setenv("OPS_TOKEN", _TOKEN)
    monkeypatch.setenv("GIT_ASKPASS", str(script))


def _header_in_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"http.{url}.extraHeader")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"Authorization: {_BASIC}")


def _token_in_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    store = tmp_path / "stored"
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(f"[credential]\n\thelper = store --file {store}\n")
    monkeypatch.setenv("SLUICE_GIT_USER", "ann")
    monkeypatch.setenv("SLUICE_GIT_TOKEN", _TOKEN)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="run this on Linux, which has /proc")
@pytest.mark.parametrize(
    "give", [_helper_in_configuration, _askpass_in_environment, _header_in_environment, _token_in_environment]
)
def test_a_secret_is_in_no_command_line_log_or_file(
    give: Callable[..., None],
    server: Any,
    cache: Path,
    tmp_path: Path,
    author: Identity,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    give(tmp_path, monkeypatch, server.url)
    watch = Watch(server)
    told: list[str] = []
    with Repository.open(server.url, cache=cache, sleep=lambda _: None) as repository:
        write(repository, author)
        assert repository.head().read("a") == b"1"
        server.status = [503]
        commit = repository.commit(
            lambda _: Change(writes={"b": b""}, subject="Write"), author=author, progress=_Told(told)
        )
        assert commit is not None
        server.status = [403]
        with pytest.raises(Refused) as caught:
            repository.head()
    assert any("git-remote-http" in line for line in watch.seen)
    secrets = (_TOKEN, _BASIC.split()[1])
    everything = [*watch.seen, *told, caplog.text, str(caught.value), commit.message]
    files = [path.read_bytes() for path in cache.rglob("*") if path.is_file()]
    for secret in secrets:
        assert not any(secret in text for text in everything)
        assert not any(secret.encode() in data for data in files)
    assert not (tmp_path / "stored").exists()


class _Told:
    def __init__(self, told: list[str]) -> None:
        self._told = told

    def bytes(self, what: str, done: int, total: int | None) -> None:
        raise AssertionError("no bytes are counted here")

    def fact(self, text: str) -> None:
        self._told.append(text)


def test_a_token_is_for_its_remote_alone(server: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_GIT_TOKEN", _TOKEN)
    with Repository.open("http://git.example/ops.git", cache=cache) as repository:
        settings = " ".join(repository._cache.git._settings)
    assert "credential" not in settings  # not over plain HTTP
    with Repository.open("https://git.example:8443/ops.git", cache=cache) as repository:
        settings = " ".join(repository._cache.git._settings)
    assert "credential.https://git.example:8443.helper=" in settings
    assert _TOKEN not in settings


def test_a_token_that_is_set_to_nothing_leaves_the_persons_helpers(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_GIT_TOKEN", "")
    with Repository.open("https://git.example/ops.git", cache=cache) as repository:
        assert "credential" not in " ".join(repository._cache.git._settings)


# names


@pytest.mark.parametrize(
    "branch", ["release/\u00e9t\u00e9", "a'b\"c", "$(touch)", "-".join("ab"), "a;b", "@", "#1", "%41"]
)
def test_odd_branches_are_just_names(
    branch: str, remote: Path, cache: Path, author: Identity, git: Run, server: Any
) -> None:
    with Repository.open(server.url, branch, cache=cache) as repository:
        first = write(repository, author)
        assert repository.head().read("a") == b"1"
        proposed = repository.propose(
            lambda _: Change(writes={"a": b"2"}, subject="Write"), author=author, branch=f"{branch}-2"
        )
        assert proposed is not None
    shown = git(remote, "for-each-ref", "--format=%(objectname) %(refname:lstrip=2)").splitlines()
    assert sorted(shown) == sorted([f"{first} {branch}", f"{proposed.id} {branch}-2"])


@pytest.mark.parametrize(
    "branch", ["../main", "a/../b", "a//b", "/a", "a/", ".a", "a/.b", "a.", "a~1", "a^", "a\\b", "a[b"]
)
def test_names_that_git_would_not_have_are_refused(branch: str, remote: Path, cache: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot name a branch"):
        Repository.open(str(remote), branch, cache=cache)
