"""The GitOps repository: a remote branch that is read as snapshots and written one commit at a time.

What holds, for any number of writers, in threads, processes and on other machines:

- No lost update. A push is never forced. Where the branch moved first, the change is computed again from its intent
  on the new head; text is never merged.
- All or nothing. After a failure the branch is as it was, or has exactly this commit; an intent that raises leaves no
  trace. Killed at any instant, a writer leaves nothing on the remote but whole commits.
- Once. Where the answer to a push is lost, the commit is looked for on the branch before anything is tried again.
- No empty commits. A change that leaves the tree as it is makes no commit.
- Only what was asked. A commit has the head as its only parent and differs from it in the paths of its change.
- The cache is only a cache. It is a bare repository without a work tree, shared by processes and safe to delete. Each
  operation fetches and commits in a private git directory that borrows the cache's objects, so that writers share no
  ref, no index and no lock, and a killed one leaves none behind.

The cost of a commit does not grow with the files of the repository: `git fast-import` reads and writes only the trees
on the way to the files of the change, where an index would list every file there is.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from gitops.address import Address
from gitops.fastimport import FAST_IMPORT, check_paths, differs, script, touched
from gitops.git import Runner
from gitops.git_errors import GitFailed, Locked, Moved, explain
from gitops.message import Identity
from gitops.snapshot import Commit, Objects, Snapshot
from gitops.tree import Change
from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.progress import Progress, Silent
from registry.retry import retrying

ATTEMPTS = 12
_FETCHES = 4
_LASTING = 600.0  # seconds after which a cache is taken to be used again
_STALE = 60.0  # seconds after which a lock in the cache is a dead process's

Intent = Callable[[Snapshot], Change | None]
"""What a writer wants, as a function of the newest head; None means that nothing is left to do."""


class _NoAnswer(Unavailable):
    """A push broke off: it may have arrived or not."""


class Repository:
    """One branch of one remote. Safe to share between threads; close it, or use it in a `with` statement."""

    def __init__(self, address: Address, branch: str, cache: Path, sleep: Callable[[float], None]) -> None:
        self.branch = branch
        self.remote = address.shown
        self._address = address
        self._cache = cache
        self._sleep = sleep
        self._git = Runner(cache / hashlib.sha256(address.url.encode()).hexdigest())
        self._objects = Objects(self._git)
        self._base = f"refs/sluice/{hashlib.sha256(branch.encode()).hexdigest()[:16]}"
        self._known: str | None = None

    @classmethod
    def open(
        cls, remote: str, branch: str = "main", *, cache: Path, sleep: Callable[[float], None] = time.sleep
    ) -> Repository:
        """Look at `branch` of `remote`: a path, or an https, ssh, file or codecommit address. Nothing is fetched yet.

        `cache` is a folder for copies of remotes; it may be shared, and deleted at any time.

        Raises:
            InvalidInput: the remote is no such address, or the branch's name cannot be one.
            Refused: the address holds a password, or the cache cannot be written.
            NotFound: git is not installed.
        """
        repository = cls(Address(remote), branch, cache, sleep)
        repository._ensure_cache()
        repository._check_branch()
        return repository

    def head(self) -> Snapshot:
        """Fetch the branch and give its newest commit; the empty start where the remote has no commits at all.

        Raises:
            NotFound: no such repository, or it has branches but not this one.
            Refused: no access.
            Unavailable: not reached after some attempts.
        """
        return retrying(_FETCHES, sleep=self._sleep)(self._fetch)

    def commit(
        self,
        intent: Intent,
        *,
        author: Identity,
        release_id: str | None = None,
        progress: Progress | None = None,
    ) -> Commit | None:
        """Compute the change on the newest head and push it as one commit, again on a newer head if that moved.

        Gives the commit as it is on the branch, or None where there was nothing to change. `intent` may be called
        several times, and raises an error of its own where it no longer makes sense. `release_id` joins commits that
        belong together; each call gets one of its own by default.

        Raises:
            Conflict: the branch moved on every attempt.
            Refused: the remote declines the commit, access is missing, or other files are in the way.
            Unavailable: the remote could not be reached; the commit is not there as far as anybody can tell.
            SluiceError: whatever `intent` raises.
        """
        progress = progress or Silent()
        writer = _Writer(intent, author, release_id or uuid.uuid4().hex, [])
        again = retrying(
            ATTEMPTS,
            when=lambda error: isinstance(error, Moved | _NoAnswer),
            first=0.1,
            longest=3.0,
            sleep=self._sleep,
            tell=progress.fact,
        )
        try:
            made = again(self._attempt, writer)
        except Moved as error:
            # an earlier push without an answer may have come through late, and be what moved the branch
            made = self._settle(writer, Conflict(_lost(error)))
        except _NoAnswer as error:
            made = self._settle(writer, Unavailable(str(error)))
        return made

    def close(self) -> None:
        """End the git process that reads; the repository may be used again after."""
        self._objects.close()

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # reading

    def _fetch(self) -> Snapshot:
        self._ensure_cache()
        with self._private() as directory:
            options = ("--quiet", "--no-tags", "--no-auto-maintenance", "--no-recurse-submodules")
            try:
                self._git.run(
                    "fetch", *options, "--", self._address.url, f"refs/heads/{self.branch}", directory=directory
                )
            except GitFailed as failed:
                if "couldn't find remote ref" in failed.text:
                    return self._empty_start()
                raise explain(failed, self.remote, self.branch) from None
            commit_id = (directory / "FETCH_HEAD").read_text().split()[0]
        self._remember(commit_id)
        return Snapshot(self._objects, None).at(commit_id)

    def _empty_start(self) -> Snapshot:
        try:
            listing = self._git.run("ls-remote", "--heads", "--", self._address.url).decode("utf-8", "replace")
        except GitFailed as failed:
            raise explain(failed, self.remote, self.branch) from None
        branches = [line.partition("\trefs/heads/")[2] for line in listing.splitlines()]
        if self.branch in branches:
            raise Unavailable(f"{self.branch} of {self.remote} came up while it was read: try again.")
        if branches:
            raise NotFound(
                f"{self.remote} has no branch {self.branch}, it has {', '.join(branches[:5])}: name one of them with"
                f" SLUICE_BRANCH, or push {self.branch} once by hand."
            )
        return Snapshot(self._objects, None)

    def _remember(self, commit_id: str) -> None:
        """Keep a ref on the newest commit, which spares the next fetch what is here; harmless where it fails."""
        if commit_id == self._known:
            return
        try:
            self._git.run("update-ref", self._base, commit_id)
            self._known = commit_id
        except GitFailed:
            lock = self._git.directory / f"{self._base}.lock"
            with contextlib.suppress(OSError):
                if time.time() - lock.stat().st_mtime > _STALE:
                    lock.unlink()
        self._tidy()

    # writing

    def _attempt(self, writer: _Writer) -> Commit | None:
        head = self.head()
        if landed := self._landed(head, writer):
            return landed
        change = writer.intent(head)
        if change is None or not differs(head, change):
            return None
        check_paths(head, change)
        self._check_work_tree(change)
        with self._private() as directory:
            commit_id = self._import(script(head, change, writer.author, writer.release_id), directory)
        writer.pushed.append(commit_id)
        try:
            self._git.run("push", *_PUSH, "--", self._address.url, f"{commit_id}:refs/heads/{self.branch}")
        except GitFailed as failed:
            return self._failed(writer, explain(failed, self.remote, self.branch))
        self._remember(commit_id)
        return head.at(commit_id).commit

    def _failed(self, writer: _Writer, error: SluiceError) -> Commit | None:
        if isinstance(error, Moved):
            raise error
        if isinstance(error, Unavailable):
            raise _NoAnswer(str(error))
        return self._settle(writer, error)

    def _settle(self, writer: _Writer, error: SluiceError) -> Commit:
        """Give the commit if it is on the branch after all, or else raise `error`."""
        try:
            landed = self._landed(self.head(), writer)
        except SluiceError:
            landed = None
        if landed is None:
            raise error
        return landed

    def _landed(self, head: Snapshot, writer: _Writer) -> Commit | None:
        """The commit of an earlier attempt that `head` descends from: its push arrived, the answer did not."""
        if head.id is None:
            return None
        for commit_id in writer.pushed:
            with contextlib.suppress(GitFailed):
                self._git.run("merge-base", "--is-ancestor", commit_id, head.id)
                return head.at(commit_id).commit
        return None

    def _import(self, commands: bytes, directory: Path) -> str:
        try:
            out = self._git.run(*FAST_IMPORT, stdin=commands, directory=directory)
        except GitFailed as failed:
            raise Refused(f"git could not make the commit in {self._cache} ({failed}): look at that folder.") from None
        return out.decode().split()[0]

    def _check_work_tree(self, change: Change) -> None:
        """Refuse where the remote is a work tree on this machine in which somebody edits the same files."""
        if self._address.path is None:
            return
        specs = [f":(top,literal){path}" for path in touched(change)]
        try:
            found = self._git.outside(self._address.path, "status", "--porcelain", "-z", "-uall", "--", *specs)
        except GitFailed:  # bare, as it should be
            return
        if found:
            paths = [entry[3:].decode("utf-8", "replace") for entry in found.split(b"\0") if entry]
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            raise Refused(
                f"{self.remote} has uncommitted changes in {', '.join(paths[:3])}{more}: commit or stash them first."
            )

    # the cache

    @contextlib.contextmanager
    def _private(self) -> Iterator[Path]:
        """A git directory of this operation's own, with the cache's objects: laid out as `git worktree` does."""
        with tempfile.TemporaryDirectory(prefix="sluice-git-") as name:
            directory = Path(name)
            (directory / "HEAD").write_text("ref: refs/heads/none\n")
            (directory / "commondir").write_text(f"{self._git.directory}\n")
            yield directory

    def _ensure_cache(self) -> None:
        directory = self._git.directory
        if (directory / "HEAD").is_file() and (directory / "objects").is_dir():
            return
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self._cache))
            self._git.outside(self._cache, "init", "--quiet", "--bare", "--template=", str(fresh))
            _move(fresh, directory)
        except OSError as error:
            raise Refused(
                f"The git cache {self._cache} cannot be written ({error.strerror}): choose another with SLUICE_CACHE."
            ) from None
        self._known = None

    def _check_branch(self) -> None:
        wrong = InvalidInput(f"{self.branch[:80]!r} cannot name a branch: see git-check-ref-format.")
        if self.branch.startswith("-") or "\0" in self.branch:
            raise wrong
        try:
            self._git.run("check-ref-format", f"refs/heads/{self.branch}")
        except GitFailed:
            raise wrong from None

    def _tidy(self) -> None:
        """Let git pack the cache when it is due, and index which commit touched which path; a few milliseconds.

        The first index takes long in a long history, so that only a cache that lasts gets one. Without it, or where
        this fails, the history of a release is read by comparing the trees of every commit.
        """
        with contextlib.suppress(GitFailed, OSError):
            self._git.run("gc", "--auto", "--quiet")
            if time.time() - (self._git.directory / "config").stat().st_mtime > _LASTING:
                options = ("--reachable", "--changed-paths", "--split", "--no-progress")
                self._git.run("commit-graph", "write", *options)


class _Writer:
    """One call of `commit`: what is wanted, by whom, and the ids of what was pushed so far."""

    def __init__(self, intent: Intent, author: Identity, release_id: str, pushed: list[str]) -> None:
        self.intent = intent
        self.author = author
        self.release_id = release_id
        self.pushed = pushed


_PUSH = ("--porcelain", "--no-follow-tags", "--no-recurse-submodules", "--no-verify")


def _lost(error: Moved) -> str:
    advice = "try again when fewer writers are at work"
    if isinstance(error, Locked):
        advice = "try again, and if it stays, look for a .lock file that a killed process left there"
    return f"{str(error).rstrip('.')}, {ATTEMPTS} times in a row: {advice}."


def _move(fresh: Path, directory: Path) -> None:
    """Put a new cache in place, unless another process was first; what is no repository there gives way."""
    try:
        fresh.rename(directory)
    except OSError:
        if (directory / "HEAD").is_file() and (directory / "objects").is_dir():
            shutil.rmtree(fresh, ignore_errors=True)
            return
        shutil.rmtree(directory, ignore_errors=True)
        fresh.rename(directory)
