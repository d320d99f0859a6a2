"""The copy of a remote that Sluice reads and commits in: a bare repository without a work tree.

It is only a cache: shared by processes, and safe to delete. Each operation fetches and commits in a private git
directory that borrows the cache's objects, so that writers share no ref and no index. They take turns (`gitops.turns`),
and a killed one leaves no lock behind. The one ref that it keeps is the newest commit that anybody saw on the branch.

It is blobless where the remote allows it (git-clone, "--filter"): it has all commits and folders, and of the files only
those that somebody read. Of a repository of 10,000 models, 200,000 files, the first fetch is 11 MB and takes a second,
where all of it is 84 MB and takes seven. What is read and not here yet comes in one request for many (`Cache.load`):
left to itself, git asks for each file alone. Where the remote takes no filter, the cache has everything.

That there is a remote to ask (git's "promisor remote") stands in no file: git is told with each command, so that the
cache's own configuration names no remote, and a process that only reads never goes to the network by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gitops.address import Address
from gitops.git import Runner
from gitops.git_errors import GitFailed, explain
from registry.errors import InvalidInput, NotFound, Refused, Unavailable

_LASTING = 600.0  # seconds after which a cache is taken to be used again
_STALE = 60.0  # seconds after which a lock in the cache is a dead process's
_REMOTE = "sluice"
_BLOBLESS = (
    f"remote.{_REMOTE}.promisor=true",
    f"remote.{_REMOTE}.partialCloneFilter=blob:none",
    "repack.writeBitmaps=false",  # a bitmap needs every object, and gc fails without
)
_FETCH = ("--quiet", "--no-tags", "--no-auto-maintenance", "--no-recurse-submodules")


class Behind(Refused):
    """The remote shows an older commit than it did: it lags, or somebody took commits back."""


class Cache:
    """The copy of one branch of one remote, in a folder for copies of remotes. Safe to share between threads."""

    def __init__(self, address: Address, branch: str, folder: Path) -> None:
        """Find git; nothing is made yet.

        Raises:
            NotFound: git is not installed.
        """
        self.address = address
        self.branch = branch
        self.folder = folder
        self.git = Runner(
            folder / hashlib.sha256(address.url.encode()).hexdigest(),
            (f"remote.{_REMOTE}.url={address.url}", *_BLOBLESS, *address.credentials(os.environ)),
        )
        self._untidy = False
        name = hashlib.sha256(branch.encode()).hexdigest()[:16]
        self.ref = f"refs/sluice/{name}"
        self.turns = self.git.directory / f"{name}.turn"

    def ensure(self) -> None:
        """Make the repository where it is not there, or no longer.

        Raises:
            Refused: the folder cannot be written.
        """
        directory = self.git.directory
        if (directory / "HEAD").is_file() and (directory / "objects").is_dir():
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
            self.git.outside(self.folder, "init", "--quiet", "--bare", "--template=", str(fresh))
            _move(fresh, directory)
        except OSError as error:
            raise Refused(
                f"The git cache {self.folder} cannot be written ({error.strerror}): choose another with SLUICE_CACHE."
            ) from None

    @contextlib.contextmanager
    def private(self) -> Iterator[Path]:
        """A git directory of one operation's own, with the cache's objects: laid out as `git worktree` does."""
        with tempfile.TemporaryDirectory(prefix="sluice-git-") as name:
            directory = Path(name)
            (directory / "HEAD").write_text("ref: refs/heads/none\n")
            (directory / "commondir").write_text(f"{self.git.directory}\n")
            yield directory

    def fetch(self) -> str | None:
        """Fetch the branch, and give the id of its newest commit; None where the remote has no commits at all.

        Raises:
            NotFound: no such repository, or it has branches but not this one.
            Refused: no access, or what was seen on the branch is no longer in its history.
            Behind: the branch is at an older commit than it was.
            Unavailable: not reached.
        """
        self.ensure()
        known = self._newest_seen()  # before the fetch, so that nobody who fetches meanwhile makes this one look old
        with self.private() as directory:
            try:
                self.git.run("fetch", *_FETCH, "--", _REMOTE, f"refs/heads/{self.branch}", directory=directory)
                commit_id = (directory / "FETCH_HEAD").read_text().split()[0]
            except GitFailed as failed:
                if "couldn't find remote ref" not in failed.text:
                    raise explain(failed, self.address.shown, self.branch) from None
                commit_id = None
        if commit_id is None:
            self._check_empty(known)
        elif commit_id != known:
            self._check_kept(known, commit_id)
            self.remember(commit_id, known)
        return commit_id

    def _newest_seen(self) -> str | None:
        try:
            return self.git.plainly("rev-parse", "--verify", "--quiet", f"{self.ref}^{{commit}}").decode().strip()
        except GitFailed:
            return None

    def _check_kept(self, known: str | None, commit_id: str) -> None:
        if known is None or self.descends(commit_id, known):
            return
        name = f"{self.branch} of {self.address.shown}"
        if self.descends(known, commit_id):
            raise Behind(
                f"{name} is back at {commit_id[:12]}, though {known[:12]} was there, and nothing is pushed: a replica"
                " that lags shows this for a moment, so try again; if commits were taken back on purpose, delete"
                f" {self.git.directory} to begin with what is there now."
            )
        raise self._rewritten(f"the history of {name} was rewritten", known)

    def _check_empty(self, known: str | None) -> None:
        found = self.branches()
        if self.branch in found:
            raise Unavailable(f"{self.branch} of {self.address.shown} came up while it was read: try again.")
        if found:
            raise NotFound(
                f"{self.address.shown} has no branch {self.branch}, it has {', '.join(list(found)[:5])}: name one of"
                f" them with SLUICE_BRANCH, or push {self.branch} once by hand."
            )
        if known is not None:
            raise self._rewritten(f"{self.address.shown} is empty", known)

    def _rewritten(self, what: str, known: str) -> Refused:
        return Refused(
            f"{what[:1].upper()}{what[1:]}, for {known[:12]} was its newest commit and is not in it any more, and"
            f" nothing is pushed: find out who did that, and if it is right, delete {self.git.directory} to begin with"
            " what is there now."
        )

    def load(self, ids: Sequence[str]) -> None:
        """Fetch the files of these object ids that are not here, in one request.

        Raises:
            Refused: no access, or the remote gives no single files.
            Unavailable: not reached.
        """
        asked = "".join(f"{one}\n" for one in ids).encode()
        lines = self.git.plainly("cat-file", "--batch-check", stdin=asked).decode().splitlines()
        missing = [line.split()[0] for line in lines if line.endswith(" missing")]
        if not missing:
            return
        alone = ("-c", "fetch.negotiationAlgorithm=noop")  # just as git asks for one file, in promisor-remote.c
        options = ("--no-write-fetch-head", "--filter=blob:none", "--stdin")
        wanted = "".join(f"{one}\n" for one in missing).encode()
        try:
            self.git.run(*alone, "fetch", *_FETCH, *options, _REMOTE, stdin=wanted)
        except GitFailed as failed:
            if "unadvertised object" not in failed.text:
                raise explain(failed, self.address.shown, self.branch) from None
            self._fetch_all()

    def _fetch_all(self) -> None:
        """Fetch every file, from a server that leaves files out and gives none alone: one before protocol version 2."""
        options = ("--no-write-fetch-head", "--no-filter", "--refetch")
        try:
            self.git.run("fetch", *_FETCH, *options, _REMOTE, f"refs/heads/{self.branch}")
        except GitFailed as failed:
            raise explain(failed, self.address.shown, self.branch) from None

    def branches(self, *names: str) -> dict[str, str]:
        """The remote's branches, or those of `names`, and the commit that each is at. Nothing is fetched.

        Raises:
            NotFound: no such repository.
            Refused: no access.
            Unavailable: not reached.
        """
        wanted = [f"refs/heads/{name}" for name in names]
        try:
            listing = self.git.run("ls-remote", "--heads", "--", self.address.url, *wanted)
        except GitFailed as failed:
            raise explain(failed, self.address.shown, self.branch) from None
        lines = [line.partition("\trefs/heads/") for line in listing.decode("utf-8", "replace").splitlines()]
        # ls-remote takes names for patterns that match from any slash on
        return {name: commit_id for commit_id, _, name in lines if not names or name in names}

    def remember(self, commit_id: str, before: str | None) -> None:
        """Keep a ref on the newest commit, which spares the next fetch what is here; harmless where it fails.

        It fails where the ref is no longer at `before`: another process was here, and the ref never goes back.
        """
        try:
            self.git.plainly("update-ref", self.ref, commit_id, before or "0" * 40)
        except GitFailed:
            lock = self.git.directory / f"{self.ref}.lock"
            with contextlib.suppress(OSError):
                if time.time() - lock.stat().st_mtime > _STALE:
                    lock.unlink()
        self._untidy = True

    def descends(self, newer: str, older: str) -> bool:
        """Whether `newer` is `older` or has it in its history."""
        try:
            self.git.plainly("merge-base", "--is-ancestor", older, newer)
        except GitFailed:
            return False
        return True

    def check_branch(self, name: str) -> None:
        """See that a branch can be called so.

        Raises:
            InvalidInput: it cannot.
        """
        wrong = InvalidInput(f"{name[:80]!r} cannot name a branch: see git-check-ref-format.")
        if name.startswith("-") or name == "HEAD" or "\0" in name:
            raise wrong
        try:
            self.git.run("check-ref-format", f"refs/heads/{name}")
        except GitFailed:
            raise wrong from None

    def tidy(self) -> None:
        """Let git pack the cache when it is due, and index which commit touched which path; a few milliseconds.

        Not between a fetch and a push, where every millisecond gives another writer the time to be first.
        The first index takes long in a long history, so that only a cache that lasts gets one. Without it, or where
        this fails, the history of a release is read by comparing the trees of every commit.
        """
        if not self._untidy:
            return
        self._untidy = False
        with contextlib.suppress(GitFailed, OSError):
            self.git.run("gc", "--auto", "--quiet")
            if time.time() - (self.git.directory / "config").stat().st_mtime > _LASTING:
                options = ("--reachable", "--changed-paths", "--split", "--no-progress")
                self.git.run("commit-graph", "write", *options)


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
