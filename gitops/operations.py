"""What people and pipelines do to a GitOps repository: each operation is one commit, or none where it is so already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops import message as trailers
from gitops.aborting import Abort, abort_canary
from gitops.decide import Rollback, decide, ensure_one_way, target
from gitops.history import ReleaseCommit, history
from gitops.holds import Holding, hold, lift
from gitops.layout import ENVIRONMENTS, release_dir
from gitops.message import Identity
from gitops.promote import Promotion, promote
from gitops.release import Release
from gitops.rerender import rerender
from gitops.rollback import restore, rollback
from gitops.scaffold import scaffold
from gitops.stack import Decision
from gitops.state import read_environment, read_release
from gitops.tree import Change
from registry.errors import Conflict, NotFound, SluiceError
from registry.progress import Progress

if TYPE_CHECKING:
    from gitops.repository import Repository
    from gitops.snapshot import Commit, Snapshot


class Outcome(BaseModel):
    """How a release stands after an operation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    environment: str
    commit: str | None
    """The new commit's id; None where nothing had to change."""
    subject: str
    """The new commit's."""
    release: Release | None


def promote_in(repository: Repository, wanted: Promotion, author: Identity, progress: Progress) -> Outcome:
    """Give a version its share of the traffic; see `gitops.promote.promote` for what is refused."""

    def intent(snapshot: Snapshot) -> Change | None:
        return promote(snapshot, history(snapshot, wanted.model, wanted.environment), wanted)

    commit = repository.commit(intent, author=author, progress=progress)
    return _outcome(repository, wanted.model, wanted.environment, commit)


def roll_back_in(
    repository: Repository,
    wanted: Rollback,
    author: Identity,
    progress: Progress,
) -> Outcome:
    """Take back what `wanted` says in one commit, and prove that the folder is what it was before.

    Raises:
        NotFound: there is no such environment, nothing was ever released there, or not the version or commit named.
        Conflict: the newest release is not of the version that was named, or something was released in between.
        Refused: there is nothing before it, the folder was changed by hand, or a held version would come back.
        SluiceError: the proof failed; the commit's id is in the sentence.
    """
    ensure_one_way(wanted)
    model, environment = wanted.model, wanted.environment
    head = repository.head()
    read_environment(head, environment)
    before = history(head, model, environment)
    if not before:
        raise NotFound(f"No version of {model} was ever released to {environment}: `sluice status` shows what was.")
    decision = decide(head, before, wanted)
    about = (model, environment, wanted.requested_by)

    def intent(snapshot: Snapshot) -> Change | None:
        commits = history(snapshot, model, environment)
        if decision.over:
            return restore(snapshot, commits, *about, decision, wanted.reason, wanted.workflow)
        return rollback(snapshot, commits, *about, wanted.reason, decision.undo, wanted.workflow)

    commit = repository.commit(intent, author=author, progress=progress)
    if commit is not None:
        _prove(repository, commit, decision, release_dir(model, environment))
    return _outcome(repository, model, environment, commit)


def _prove(repository: Repository, commit: Commit, decision: Decision, folder: str) -> None:
    after = repository.at(commit.id)  # not fetched: a network that is gone by now would hide that it was pushed
    if after.tree_id(folder) != target(after, decision).tree_id(folder):
        raise SluiceError(f"Rollback {commit.id} did not restore {folder}: look at it now, and please report this.")


def abort_in(repository: Repository, wanted: Abort, author: Identity, progress: Progress) -> Outcome:
    """End a trial: the canary is gone and held, the stable version has all of the traffic.

    Raises:
        NotFound: there is no such environment, or nothing was released there.
        Conflict: the canary is of another version than the one named.
        Refused: the folder was changed by hand.
    """

    def intent(snapshot: Snapshot) -> Change | None:
        read_environment(snapshot, wanted.environment)
        return abort_canary(snapshot, history(snapshot, wanted.model, wanted.environment), wanted)

    commit = repository.commit(intent, author=author, progress=progress)
    return _outcome(repository, wanted.model, wanted.environment, commit)


def hold_in(repository: Repository, wanted: Holding, author: Identity, progress: Progress) -> Outcome:
    """Keep a version from being promoted there; see `gitops.holds.hold` for what is refused."""
    return _say(repository, hold, wanted, author, progress)


def unhold_in(repository: Repository, wanted: Holding, author: Identity, progress: Progress) -> Outcome:
    """Let a held version be promoted again; see `gitops.holds.lift` for what is refused."""
    return _say(repository, lift, wanted, author, progress)


def _say(
    repository: Repository,
    change: Callable[[Snapshot, Sequence[ReleaseCommit], Holding, datetime], Change | None],
    wanted: Holding,
    author: Identity,
    progress: Progress,
) -> Outcome:
    model, environment = wanted.model, wanted.environment
    now = datetime.now(UTC).replace(microsecond=0)

    def intent(snapshot: Snapshot) -> Change | None:
        read_release(snapshot, model, environment)  # the outcome tells of it, so it has to be one
        return change(snapshot, history(snapshot, model, environment), wanted, now)

    commit = repository.commit(intent, author=author, progress=progress)
    return _outcome(repository, model, environment, commit)


def render_in(
    repository: Repository, model: str, environment: str, requested_by: str, author: Identity, progress: Progress
) -> Outcome:
    """Bring a release's manifests up to date with people's settings."""

    def intent(snapshot: Snapshot) -> Change | None:
        return rerender(snapshot, history(snapshot, model, environment), model, environment, requested_by)

    commit = repository.commit(intent, author=author, progress=progress)
    return _outcome(repository, model, environment, commit)


def init_in(
    repository: Repository, environments: Sequence[str], repo_url: str, author: Identity, progress: Progress
) -> str:
    """Write a new repository's first files and return the commit's id.

    Raises:
        InvalidInput: a bad environment, branch or URL.
        Conflict: the repository has environments already, or files of these names.
    """
    files = scaffold(environments, repo_url=repo_url, revision=repository.branch)

    def intent(snapshot: Snapshot) -> Change:
        if snapshot.paths(ENVIRONMENTS):
            raise Conflict("The repository has environments already: its README.md says how to add one.")
        taken = [path for path in files if snapshot.read(path) is not None]
        if taken:
            raise Conflict(f"{taken[0]} is in the repository already: begin with an empty one, or move that file away.")
        return Change(
            writes=files,
            subject=f"Begin with {', '.join(environments)}",
            trailers={trailers.ACTION: trailers.INIT, trailers.REQUESTED_BY: f"{author.name} <{author.email}>"},
        )

    commit = repository.commit(intent, author=author, progress=progress)
    if commit is None:
        raise Conflict("The repository has these files already: nothing was written.")
    return commit.id


def _outcome(repository: Repository, model: str, environment: str, commit: Commit | None) -> Outcome:
    after = repository.at(commit.id) if commit else repository.head()
    return Outcome(
        model=model,
        environment=environment,
        commit=commit.id if commit else None,
        subject=commit.message.partition("\n")[0] if commit else "",
        release=read_release(after, model, environment),
    )
