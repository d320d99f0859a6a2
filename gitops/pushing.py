"""One intent on its way to the remote, over as many attempts as it takes; see `gitops.repository` for what holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gitops.cache import Cache
from gitops.fastimport import FAST_IMPORT, check_paths, differs, script, touched
from gitops.git_errors import GitFailed, Locked, Moved, Stalled, explain
from gitops.message import Identity
from gitops.signing import CommitSigning
from gitops.snapshot import Commit, Snapshot
from gitops.tree import Change
from gitops.turns import turn
from registry.errors import Conflict, Refused, SluiceError, Unavailable
from registry.progress import Progress
from registry.retry import retrying

ATTEMPTS = 48
"""How often a commit is tried. Writers on one machine take turns; those on others race, and four of them that share two
processors need two attempts for a commit in the mean. Many more than that, so that none has bad luck so long."""
_LOCKED = 8  # a lock that stays this often was probably left behind
_PUSH = ("--porcelain", "--no-follow-tags", "--no-recurse-submodules", "--no-verify")

Intent = Callable[[Snapshot], Change | None]
"""What a writer wants, as a function of the newest head; None means that nothing is left to do."""


class _NoAnswer(Unavailable):
    """A push broke off: it may have arrived or not."""


class Wanted(NamedTuple):
    """What a commit is to do, by whom, what joins it to others, and whose key signs it."""

    intent: Intent
    author: Identity
    release_id: str
    signing: CommitSigning


class Pushing:
    """A commit on its way to the branch that it is made on."""

    def __init__(self, cache: Cache, head: Callable[[], Snapshot], wanted: Wanted) -> None:
        self._cache = cache
        self._head = head
        self._wanted = wanted
        self._pushed: list[str] = []
        self._locked = 0

    def run(self, progress: Progress, sleep: Callable[[float], None]) -> Commit | None:
        """Try until the commit is there, or nothing is left to do.

        Raises:
            Conflict: another writer was first on every attempt.
            Refused: the remote declines the commit, access is missing, or other files are in the way.
            Unavailable: the remote could not be reached; the commit is not there as far as anybody can tell.
            SluiceError: whatever the intent raises.
        """
        again = retrying(
            ATTEMPTS,
            when=self._passes,
            first=0.1,
            longest=2.0,
            sleep=sleep,
            tell=progress.fact,
        )

        def attempt() -> Commit | None:
            with turn(self._cache.turns, sleep):
                return self._attempt()

        try:
            return again(attempt)
        except Moved as error:
            # an earlier push without an answer may have come through late, and be what moved the branch
            return self._settle(Conflict(_lost(error)))
        except _NoAnswer as error:
            return self._settle(Unavailable(str(error)))

    def _passes(self, error: BaseException) -> bool:
        if isinstance(error, Locked):
            self._locked += 1
            return self._locked < _LOCKED
        return isinstance(error, Moved | _NoAnswer)

    def _attempt(self) -> Commit | None:
        head = self._head()
        if landed := self._landed(head):
            return landed
        change = self._wanted.intent(head)
        if change is None or not differs(head, change):
            return None
        check_paths(head, change)
        self._check_work_tree(change)
        commit_id = self._make(head, change)
        self._pushed.append(commit_id)
        try:
            push(self._cache, f"{commit_id}:refs/heads/{self._target}", self._options)
        except GitFailed as failed:
            return self._failed(explain(failed, self._cache.address.shown, self._target))
        self._arrived(commit_id, head)
        return head.at(commit_id).commit

    def _make(self, head: Snapshot, change: Change) -> str:
        commands = script(head, change, self._wanted.author, self._wanted.release_id)
        with self._cache.private() as directory:
            try:
                out = self._cache.git.run(*FAST_IMPORT, stdin=commands, directory=directory)
            except GitFailed as failed:
                raise Refused(
                    f"git could not make the commit in {self._cache.folder} ({failed}): look at that folder."
                ) from None
        commit_id = out.decode().split()[0]
        commit = head.at(commit_id).commit
        return self._wanted.signing.sign(self._cache.git, commit) if commit else commit_id

    def _failed(self, error: SluiceError) -> Commit | None:
        if isinstance(error, Moved):
            raise error
        if isinstance(error, Unavailable) and not isinstance(error, Stalled):
            raise _NoAnswer(str(error))
        return self._settle(error)

    def _settle(self, error: SluiceError) -> Commit:
        """Give the commit if it is there after all, or else raise `error`."""
        try:
            landed = self._landed(self._head())
        except SluiceError:
            landed = None
        if landed is None:
            raise error
        return landed

    # where it goes

    @property
    def _target(self) -> str:
        return self._cache.branch

    @property
    def _options(self) -> Sequence[str]:
        return ()

    def _arrived(self, commit_id: str, head: Snapshot) -> None:
        self._cache.remember(commit_id, head.id)
        self._cache.tidy()

    def _landed(self, head: Snapshot) -> Commit | None:
        """The commit of an earlier attempt that `head` descends from: its push arrived, the answer did not."""
        for commit_id in self._pushed:
            if head.id and self._cache.descends(head.id, commit_id):
                return head.at(commit_id).commit
        return None

    def _check_work_tree(self, change: Change) -> None:
        """Refuse where the remote is a work tree on this machine in which somebody edits the same files."""
        folder = self._cache.address.path
        if folder is None:
            return
        specs = [f":(top,literal){path}" for path in touched(change)]
        try:
            found = self._cache.git.outside(folder, "status", "--porcelain", "-z", "-uall", "--", *specs)
        except GitFailed:  # bare, as it should be
            return
        if found:
            paths = [entry[3:].decode("utf-8", "replace") for entry in found.split(b"\0") if entry]
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            raise Refused(
                f"{self._cache.address.shown} has uncommitted changes in {', '.join(paths[:3])}{more}: commit or stash"
                " them first."
            )


class Proposing(Pushing):
    """A commit on its way to a branch of its own, which must not be there yet."""

    def __init__(
        self,
        cache: Cache,
        head: Callable[[], Snapshot],
        wanted: Wanted,
        branch: str,
        tip: Callable[[str], str | None],
    ) -> None:
        super().__init__(cache, head, wanted)
        self._branch = branch
        self._tip = tip

    @property
    def _target(self) -> str:
        return self._branch

    @property
    def _options(self) -> Sequence[str]:
        # a plain push would fast-forward a branch that is there; this one only ever creates ("--force-with-lease" in
        # git-push: an empty <expect> says that the ref must not exist yet)
        return (f"--force-with-lease=refs/heads/{self._branch}:",)

    def _arrived(self, commit_id: str, head: Snapshot) -> None:
        del commit_id, head  # the cache keeps what was seen on the branch that it follows, and nothing else

    def _landed(self, head: Snapshot) -> Commit | None:
        if not self._pushed:
            return None
        at = self._tip(self._branch)
        if at is None:
            return None
        if at not in self._pushed:
            raise self._taken(at)
        return head.at(at).commit

    def _failed(self, error: SluiceError) -> Commit | None:
        if isinstance(error, Moved) and not isinstance(error, Locked):
            at = self._tip(self._branch)
            if at is not None and at not in self._pushed:
                raise self._taken(at)
        return super()._failed(error)

    def _taken(self, at: str) -> Conflict:
        return Conflict(
            f"{self._cache.address.shown} has a branch {self._branch} already, at {at[:12]}: choose another name, or"
            " delete that branch first."
        )


def push(cache: Cache, what: str, options: Sequence[str] = ()) -> None:
    """Push one refspec to the cache's remote.

    Raises:
        GitFailed: it did not go through, as far as git knows.
    """
    cache.git.run("push", *_PUSH, *options, "--", cache.address.url, what)


def _lost(error: Moved) -> str:
    times, advice = ATTEMPTS, "try again when fewer writers are at work"
    if isinstance(error, Locked):
        times, advice = _LOCKED, "try again, and if it stays, look for a .lock file that a killed process left there"
    return f"{str(error).rstrip('.')}, {times} times: {advice}."
