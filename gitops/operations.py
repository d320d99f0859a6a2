"""What people and pipelines do to a GitOps repository: each operation is one commit, or none where it is so already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops import message as trailers
from gitops.history import ReleaseCommit, history
from gitops.layout import ENVIRONMENTS, release_dir
from gitops.message import Identity
from gitops.promote import Promotion, promote
from gitops.release import Release
from gitops.rerender import rerender
from gitops.rollback import last_release, rollback, since_retired
from gitops.scaffold import scaffold
from gitops.state import read_environment, read_release
from gitops.tree import Change
from registry.errors import Conflict, NotFound, Refused, SluiceError
from registry.names import EnvironmentName, ModelName
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


class Rollback(BaseModel):
    """Whose newest release is to be taken back, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    environment: EnvironmentName
    version: int | None = None
    """Where it is given, the release must be of this version, so that asking twice takes back one release."""
    requested_by: str
    reason: str = ""


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
    """Take back the newest release in force with all its steps, and prove that the folder is what it was before it.

    Raises:
        NotFound: there is no such environment, or nothing was ever released there.
        Conflict: the newest release is not of the version that was named.
        Refused: there is nothing before it, or the folder was changed by hand.
        SluiceError: the proof failed; the commit's id is in the sentence.
    """
    model, environment = wanted.model, wanted.environment
    undo = [action.id for action in _newest_release(repository.head(), wanted)]

    def intent(snapshot: Snapshot) -> Change | None:
        commits = history(snapshot, model, environment)
        return rollback(snapshot, commits, model, environment, wanted.requested_by, wanted.reason or None, undo)

    commit = repository.commit(intent, author=author, progress=progress)
    if commit is not None:
        _prove(repository, commit, undo, release_dir(model, environment))
    return _outcome(repository, model, environment, commit)


def _newest_release(head: Snapshot, wanted: Rollback) -> Sequence[ReleaseCommit]:
    model, environment = wanted.model, wanted.environment
    read_environment(head, environment)
    commits = history(head, model, environment)
    if not commits:
        raise NotFound(f"No version of {model} was ever released to {environment}: `sluice status` shows what was.")
    found = last_release(since_retired(head, commits, model, environment))
    if not found:
        raise Refused(f"There is nothing to roll back: no release of {model} in {environment} is in force.")
    version = found[-1].version
    if wanted.version is not None and wanted.version != version:
        raise Conflict(
            f"The newest release of {model} in {environment} is version {version}, not {wanted.version}: look at"
            f" `sluice history {model} --env {environment}` and decide again."
        )
    return found


def _prove(repository: Repository, commit: Commit, undone: Sequence[str], folder: str) -> None:
    after = repository.head().at(commit.id)
    if after.tree_id(folder) != after.at(undone[0]).before().tree_id(folder):
        raise SluiceError(f"Rollback {commit.id} did not restore {folder}: look at it now, and please report this.")


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
    head = repository.head()
    return Outcome(
        model=model,
        environment=environment,
        commit=commit.id if commit else None,
        subject=commit.message.partition("\n")[0] if commit else "",
        release=read_release(head.at(commit.id) if commit else head, model, environment),
    )
