"""The actions in force on one release, as a stack: what a rollback takes from its top."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from gitops import message as trailers
from gitops.history import ReleaseCommit, effective, undone_by


class Decision(NamedTuple):
    """What a rollback takes back, settled once: computed again on a newer head, the change never takes back more."""

    undo: tuple[str, ...]
    """The ids of Sluice's actions, oldest first: the newest that are in force."""
    to: str | None = None
    """The commit whose folder comes back where nothing is undone; else it is the one before the first of `undo`."""
    over: tuple[str, ...] = ()
    """Commits by hand that are overwritten, newest first."""


def actions(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """Of one release's history, newest first, the actions in force that can be taken back, oldest first."""
    kept = (trailers.INIT, trailers.ROLLBACK, trailers.HOLD, trailers.LIFT)
    return [commit for commit in effective(commits) if commit.by_sluice and commit.action not in kept]


def last_action(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """What `git revert` would take: the newest Sluice action in force, as a list of one, or of none.

    `commits` is the whole history of one release, newest first.
    """
    return actions(commits)[-1:]


def last_release(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """Every step of the newest release in force, oldest first: the actions in a row that promote one version.

    What was only rendered between the steps or after them goes with them, and so does a later canary that was aborted,
    as that left nothing to take back.
    """
    stack = actions(commits)
    end = len(stack)
    while (start := _start_of_release(stack, end)) < end:
        if all(action.action != trailers.ABORT for action in stack[start:end]):
            return stack[start:]
        end = start
    return []


def _start_of_release(stack: Sequence[ReleaseCommit], end: int) -> int:
    """Where in `stack` the newest release before `end` starts; `end` where there is none."""
    start, version = end, None
    for index in reversed(range(end)):
        action = stack[index]
        if action.version is None:
            continue
        if version is not None and (action.version != version or action.action == trailers.ABORT):
            break
        start, version = index, action.version
    return start


def beneath(commits: Sequence[ReleaseCommit], hand: Collection[ReleaseCommit]) -> list[ReleaseCommit]:
    """One release's history without the commits by hand that are to be overwritten.

    Those that take back a rollback stay, as they brought actions into force again which are to be found.
    """
    rollbacks = [commit for commit in commits if commit.action == trailers.ROLLBACK]
    ids = {other.id for other in hand if not undone_by(other, rollbacks)}
    return [commit for commit in commits if commit.id not in ids]
