"""The GitOps repository: a remote branch that is read as snapshots and written one commit at a time.

What holds, for any number of writers, in threads, processes and on other machines:

- No lost update. A push is never forced. Where the branch moved first, the change is computed again from its intent
  on the new head; text is never merged.
- All or nothing. After a failure the branch is as it was, or has exactly this commit; an intent that raises leaves no
  trace. Killed at any instant, a writer leaves nothing on the remote but whole commits.
- Once. Where the answer to a push is lost, the commit is looked for on the branch before anything is tried again.
- No rewritten history. What this cache saw on the branch has to be in its history still, or all is refused; whoever
  rewrote it on purpose says so by deleting the cache.
- No empty commits. A change that leaves the tree as it is makes no commit.
- Only what was asked. A commit has the head as its only parent and differs from it in the paths of its change.
- The cache is only a cache: see `gitops.cache`.

The cost of a commit does not grow with the files of the repository: `git fast-import` reads and writes only the trees
on the way to the files of the change, where an index would list every file there is.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from gitops.address import Address
from gitops.cache import Behind, Cache
from gitops.git_errors import GitFailed, Moved, Stalled, explain
from gitops.message import Identity
from gitops.pushing import ATTEMPTS, Intent, Proposing, Pushing, Wanted, push
from gitops.signing import UNSIGNED, CommitSigning
from gitops.snapshot import Commit, Objects, Snapshot
from gitops.verify import Signature, verify
from registry.errors import Conflict, InvalidInput, Refused, Unavailable
from registry.progress import Progress, Silent
from registry.retry import retrying

if TYPE_CHECKING:
    from tenacity import Retrying

__all__ = ["ATTEMPTS", "Intent", "Repository"]

_FETCHES = 4
_COMMIT_ID = re.compile(r"[0-9a-f]{40}")


class Repository:
    """One branch of one remote. Safe to share between threads; close it, or use it in a `with` statement."""

    def __init__(
        self,
        address: Address,
        branch: str,
        cache: Path,
        sleep: Callable[[float], None],
        signing: CommitSigning,
    ) -> None:
        self.branch = branch
        self.remote = address.shown
        self._sleep = sleep
        self._signing = signing
        self._cache = Cache(address, branch, cache)
        self._objects = Objects(self._cache.git, self._load)

    @classmethod
    def open(
        cls,
        remote: str,
        branch: str = "main",
        *,
        cache: Path,
        sleep: Callable[[float], None] = time.sleep,
        signing: CommitSigning = UNSIGNED,
    ) -> Repository:
        """Look at `branch` of `remote`: a path, or an https, ssh, file or codecommit address. Nothing is fetched yet.

        `cache` is a folder for copies of remotes; it may be shared, and deleted at any time. `signing` says which key
        signs what is committed here.

        Raises:
            InvalidInput: the remote is no such address, or the branch's name cannot be one.
            Refused: the address holds a password, or the cache cannot be written.
            NotFound: git is not installed.
        """
        repository = cls(Address(remote), branch, cache, sleep, signing)
        repository._cache.ensure()
        repository._cache.check_branch(branch)
        return repository

    def head(self) -> Snapshot:
        """Fetch the branch and give its newest commit; the empty start where the remote has no commits at all.

        Raises:
            NotFound: no such repository, or it has branches but not this one.
            Refused: no access, or what was seen on the branch is no longer in its history.
            Unavailable: not reached after some attempts.
        """
        commit_id = self._again()(self._cache.fetch)
        return self.at(commit_id) if commit_id else Snapshot(self._objects, None)

    def at(self, commit_id: str) -> Snapshot:
        """A commit that was read or made here before. Nothing is fetched.

        Raises:
            NotFound: there is no such commit here.
        """
        return Snapshot(self._objects, None).at(commit_id)

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
        wanted = Wanted(intent, author, release_id or uuid.uuid4().hex, self._signing)
        return Pushing(self._cache, self.head, wanted).run(progress or Silent(), self._sleep)

    def propose(
        self,
        intent: Intent,
        *,
        author: Identity,
        branch: str,
        release_id: str | None = None,
        progress: Progress | None = None,
    ) -> Commit | None:
        """Compute the change on the newest head and push it as one commit to the new branch `branch`.

        This repository's own branch stays as it is. Gives the commit, or None where there was nothing to change, and
        then there is no branch either.

        Raises:
            InvalidInput: no branch can be called so.
            Conflict: there is a branch of that name already.
            Refused: the remote declines the commit, access is missing, or other files are in the way.
            Unavailable: the remote could not be reached; the branch is not there as far as anybody can tell.
            SluiceError: whatever `intent` raises.
        """
        self._check_other(branch)
        wanted = Wanted(intent, author, release_id or uuid.uuid4().hex, self._signing)
        proposing = Proposing(self._cache, self.head, wanted, branch, self.tip)
        return proposing.run(progress or Silent(), self._sleep)

    def tip(self, branch: str) -> str | None:
        """The id of the commit that a branch of the remote is at, or None where there is no such branch.

        Raises:
            InvalidInput: no branch can be called so.
            NotFound: no such repository.
            Refused: no access.
            Unavailable: not reached after some attempts.
        """
        self._cache.check_branch(branch)
        return self._again()(self._cache.branches, branch).get(branch)

    def delete_branch(self, branch: str, expect: str) -> None:
        """Delete a proposal's branch if it is at the commit `expect`; one that is gone already is fine.

        Raises:
            InvalidInput: no branch can be called so, or `expect` is no commit's id.
            Conflict: the branch is at another commit: somebody added to it.
            Refused: it is this repository's own branch, or the remote does not let it go.
            Unavailable: the remote could not be reached.
        """
        self._check_other(branch)
        if not _COMMIT_ID.fullmatch(expect):
            raise InvalidInput(f"{expect[:50]!r} is no commit: give all 40 hexadecimal digits of its id.")
        self._cache.ensure()
        self._again()(self._delete, branch, expect)

    def _load(self, ids: Sequence[str]) -> None:
        self._again()(self._cache.load, ids)

    def _again(self) -> Retrying:
        return retrying(_FETCHES, when=_passes, sleep=self._sleep)

    def _delete(self, branch: str, expect: str) -> None:
        at = self._cache.branches(branch).get(branch)
        if at is None:
            return
        if at != expect:
            raise Conflict(
                f"{branch} of {self.remote} is at {at[:12]} and no longer at {expect[:12]}: look at what was added, and"
                " delete it by hand."
            )
        try:  # a compare-and-swap: the remote deletes the branch only where it is still at `expect`
            push(self._cache, f":refs/heads/{branch}", [f"--force-with-lease=refs/heads/{branch}:{expect}"])
        except GitFailed as failed:
            raise explain(failed, self.remote, branch) from None

    def _check_other(self, branch: str) -> None:
        self._cache.check_branch(branch)
        if branch == self.branch:
            raise Refused(f"{branch} is the branch that Argo CD follows: a proposal needs a branch of its own.")

    def signatures(self, ids: Sequence[str], allowed_signers: Path | None = None) -> Mapping[str, Signature]:
        """By id, what the signatures of commits are worth that a snapshot told of; see `gitops.verify.verify`.

        Raises:
            InvalidInput: the file of allowed signers is not there.
        """
        return verify(self._cache.git, ids, allowed_signers)

    def close(self) -> None:
        """End the git process that reads, and tidy the cache; the repository may be used again after."""
        self._objects.close()
        self._cache.tidy()

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _passes(error: BaseException) -> bool:
    """Whether a fault may pass by itself, and soon."""
    return isinstance(error, Unavailable | Behind | Moved) and not isinstance(error, Stalled)
