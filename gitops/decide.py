"""What a rollback is to take back: the newest release, some steps, or all since a version or a commit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops import message as trailers
from gitops.history import ReleaseCommit
from gitops.layout import release_dir
from gitops.rollback import by_hand, changed, since_retired
from gitops.stack import Decision, actions, beneath, last_release
from gitops.state import read_release
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from registry.names import EnvironmentName, ModelName

if TYPE_CHECKING:
    from gitops.snapshot import Snapshot

_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class Rollback(BaseModel):
    """What is to be taken back of a model in an environment, and why: by default all steps of the newest release.

    At most one of `version`, `steps`, `to_version` and `to_commit` says more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    environment: EnvironmentName
    version: int | None = None
    """Where it is given, the release must be of this version, so that asking twice takes back one release."""
    steps: int | None = None
    """So many of the newest actions."""
    to_version: int | None = None
    """Everything since this version was last stable, best without a canary beside it."""
    to_commit: str | None = None
    """Everything since this commit, by its id or the first seven digits of it or more."""
    restore: bool = False
    """Whether changes by hand in the folder are overwritten; else they stop it."""
    requested_by: str
    reason: str = ""
    workflow: str = ""
    """The Argo workflow that asks, by name, where one does."""


def ensure_one_way(wanted: Rollback) -> None:
    """Make sure that the ways to say how far to go back are not mixed.

    Raises:
        InvalidInput: they are, or a number or a commit cannot be one.
    """
    ways = {
        f"{wanted.model}@{wanted.version}": wanted.version,
        "--steps": wanted.steps,
        "--to-version": wanted.to_version,
        "--to-commit": wanted.to_commit,
    }
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise InvalidInput(f"{' and '.join(given)} each say how far to go back: give one of them.")
    if wanted.steps is not None and wanted.steps < 1:
        raise InvalidInput(f"{wanted.steps} is no number of steps: give 1 or more.")
    if wanted.to_commit is not None and not _COMMIT.fullmatch(wanted.to_commit):
        raise InvalidInput(
            f"{wanted.to_commit[:80]!r} is not a commit: give seven or more hexadecimal digits of its id."
        )


def decide(snapshot: Snapshot, commits: Sequence[ReleaseCommit], wanted: Rollback) -> Decision:
    """Settle what to take back; `commits` is the release's whole history at `snapshot`, newest first.

    Raises:
        InvalidInput: what `ensure_one_way` refuses, or more commits begin with these digits.
        NotFound: there is no such commit, or the version was never stable in what is in force.
        Conflict: the newest release is not of the version that was named.
        Refused: there is nothing to take back, or not so much; `ChangedByHand` where nothing else is.
    """
    ensure_one_way(wanted)
    alive = since_retired(snapshot, commits, wanted.model, wanted.environment)
    hand = by_hand(snapshot, alive, wanted.model, wanted.environment) if wanted.restore else []
    undo, to = _chosen(snapshot, beneath(alive, hand), wanted)
    begun = undo[0].id if undo else to
    newer = {commit.id for commit in takewhile(lambda commit: commit.id != begun, alive)}
    over = tuple(commit.id for commit in hand if commit.id in newer)
    folder = release_dir(wanted.model, wanted.environment)
    if not undo and to and not over and snapshot.at(to).tree_id(folder) != snapshot.tree_id(folder):
        raise changed(snapshot, alive, snapshot.at(to), folder)
    return Decision(undo=tuple(action.id for action in undo), to=None if undo else to, over=over)


def target(snapshot: Snapshot, decision: Decision) -> Snapshot:
    """The commit whose folder comes back."""
    return snapshot.at(decision.undo[0]).before() if decision.undo else snapshot.at(decision.to or "")


def _chosen(
    snapshot: Snapshot, commits: Sequence[ReleaseCommit], wanted: Rollback
) -> tuple[Sequence[ReleaseCommit], str | None]:
    """The actions, oldest first; where there are none, the commit whose state is asked for."""
    if wanted.steps is not None:
        return _steps(commits, wanted, wanted.steps), None
    if wanted.to_version is not None:
        return _to_version(snapshot, commits, wanted, wanted.to_version)
    if wanted.to_commit is not None:
        return _to_commit(snapshot, commits, wanted, wanted.to_commit)
    return _release(commits, wanted), None


def _release(commits: Sequence[ReleaseCommit], wanted: Rollback) -> Sequence[ReleaseCommit]:
    model, environment = wanted.model, wanted.environment
    found = last_release(commits)
    if not found:
        raise Refused(f"There is nothing to roll back: no release of {model} in {environment} is in force.")
    version = found[0].version
    if wanted.version is not None and wanted.version != version:
        raise Conflict(
            f"The newest release of {model} in {environment} is version {version}, not {wanted.version}: look at"
            f" `sluice history {model} --env {environment}` and decide again."
        )
    return found


def _steps(commits: Sequence[ReleaseCommit], wanted: Rollback, steps: int) -> Sequence[ReleaseCommit]:
    stack = actions(commits)
    if len(stack) < steps:
        raise Refused(
            f"{wanted.model} has {len(stack)} actions in force in {wanted.environment}, not {steps}: look at"
            f" `sluice history {wanted.model} --env {wanted.environment}`."
        )
    return stack[-steps:]


def _to_version(
    snapshot: Snapshot, commits: Sequence[ReleaseCommit], wanted: Rollback, version: int
) -> tuple[Sequence[ReleaseCommit], str | None]:
    stack = actions(commits)
    beside_canary = None
    for index in reversed(range(len(stack))):
        release = read_release(snapshot.at(stack[index].id), wanted.model, wanted.environment)
        if release is None or release.stable.version != version:
            continue
        if release.canary is None:
            return stack[index + 1 :], stack[index].id
        beside_canary = index if beside_canary is None else beside_canary
    if beside_canary is None:
        raise NotFound(
            f"{wanted.model}@{version} was the stable version of {wanted.environment} in nothing that is in force:"
            f" promote it instead, or look at `sluice history {wanted.model} --env {wanted.environment}`."
        )
    return stack[beside_canary + 1 :], stack[beside_canary].id


def _to_commit(
    snapshot: Snapshot, commits: Sequence[ReleaseCommit], wanted: Rollback, digits: str
) -> tuple[Sequence[ReleaseCommit], str | None]:
    model, environment = wanted.model, wanted.environment
    kept = (trailers.HOLD, trailers.LIFT)
    found = [commit.id for commit in commits if commit.id.startswith(digits) and commit.action not in kept]
    if not found:
        raise NotFound(
            f"No commit {digits} released {model} in {environment}: `sluice history {model} --env {environment}` lists"
            " those that did."
        )
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} commits begin with {digits}: give more digits of the id.")
    newer = {commit.id for commit in takewhile(lambda commit: commit.id != found[0], commits)}
    undo = [action for action in actions(commits) if action.id in newer]
    folder = release_dir(model, environment)
    if undo and snapshot.at(undo[0].id).before().tree_id(folder) != snapshot.at(found[0]).tree_id(folder):
        raise Refused(
            f"{found[0][:12]} is not in force any more, so taking back what came after does not lead there: name"
            " another commit, or promote its version again."
        )
    return undo, found[0]
