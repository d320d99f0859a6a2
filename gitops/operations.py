"""What people and pipelines do to a GitOps repository: each operation is one commit, or none where it is so already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops.history import history
from gitops.layout import release_dir
from gitops.message import Identity
from gitops.promote import Promotion, promote
from gitops.release import Release
from gitops.rerender import rerender
from gitops.rollback import last_release, rollback
from gitops.scaffold import scaffold
from gitops.state import read_release
from gitops.tree import Change
from registry.errors import Conflict, SluiceError
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
    release: Release | None


def promote_in(repository: Repository, wanted: Promotion, author: Identity, progress: Progress) -> Outcome:
    """Give a version its share of the traffic; see `gitops.promote.promote` for what is refused."""

    def intent(snapshot: Snapshot) -> Change | None:
        return promote(snapshot, history(snapshot, wanted.model, wanted.environment), wanted)

    commit = repository.commit(intent, author=author, progress=progress)
    return _outcome(repository, wanted.model, wanted.environment, commit)


def roll_back_in(
    repository: Repository,
    model: str,
    environment: str,
    requested_by: str,
    reason: str,
    author: Identity,
    progress: Progress,
) -> Outcome:
    """Take back the newest release in force with all its steps, and prove that the folder is what it was before it.

    Raises:
        Refused: there is nothing to take back, or the folder was changed by hand.
        SluiceError: the proof failed; the commit's id is in the sentence.
    """
    decided = repository.head()
    undo = [action.id for action in last_release(history(decided, model, environment))]
    if not undo:
        rollback(decided, history(decided, model, environment), model, environment, requested_by)

    def intent(snapshot: Snapshot) -> Change | None:
        commits = history(snapshot, model, environment)
        return rollback(snapshot, commits, model, environment, requested_by, reason or None, undo)

    commit = repository.commit(intent, author=author, progress=progress)
    outcome = _outcome(repository, model, environment, commit)
    if commit is not None:
        after = repository.head().at(commit.id)
        was = after.at(undo[0]).before().tree_id(release_dir(model, environment))
        if after.tree_id(release_dir(model, environment)) != was:
            raise SluiceError(
                f"Rollback {commit.id} did not restore {release_dir(model, environment)}: look at it now."
            )
    return outcome


def render_in(
    repository: Repository, model: str, environment: str, requested_by: str, author: Identity, progress: Progress
) -> Outcome:
    """Bring a release's manifests up to date with people's settings."""

    def intent(snapshot: Snapshot) -> Change | None:
        return rerender(snapshot, history(snapshot, model, environment), model, environment, requested_by)

    commit = repository.commit(intent, author=author, progress=progress)
    return _outcome(repository, model, environment, commit)


def init_in(
    repository: Repository, environments: list[str], repo_url: str, branch: str, author: Identity, progress: Progress
) -> str:
    """Write a new repository's first files and return the commit's id.

    Raises:
        InvalidInput: a bad environment, branch or URL.
        Conflict: the repository has environments already, or files of these names.
    """
    files = scaffold(environments, repo_url=repo_url, revision=branch)

    def intent(snapshot: Snapshot) -> Change:
        taken = [path for path in files if snapshot.read(path) is not None]
        if taken:
            raise Conflict(
                f"{taken[0]} is in the repository already: add environments there by hand, as README.md says."
            )
        return Change(
            writes=files,
            subject=f"Begin with {', '.join(environments)}",
            trailers={"Action": "init", "Requested-By": f"{author.name} <{author.email}>"},
        )

    commit = repository.commit(intent, author=author, progress=progress)
    if commit is None:
        raise Conflict("The repository has these files already: nothing was written.")
    return commit.id


def _outcome(repository: Repository, model: str, environment: str, commit: Commit | None) -> Outcome:
    head = repository.head()
    newest = history(head, model, environment, limit=1)
    return Outcome(
        model=model,
        environment=environment,
        commit=commit.id if commit else None,
        subject=newest[0].subject if newest else "",
        release=read_release(head.at(commit.id) if commit else head, model, environment),
    )
