"""Rolling back: what `git revert` would do, restricted to one release folder, as a change to commit.

The folder's tree becomes the very tree object that it was before the action that is taken back, so that files, bytes
and modes are the same by construction. Where the folder was changed since by anything but Sluice, nothing is changed
and the difference is shown. What happened elsewhere in the repository in between stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gitops import message as trailers
from gitops.history import ReleaseCommit, effective
from gitops.layout import release_dir, release_file
from gitops.state import read_release
from gitops.tree import Change
from registry.errors import Conflict, Refused

if TYPE_CHECKING:
    from gitops.snapshot import Snapshot


class Restore(Change):
    """A change that puts back one folder as a whole: `tree` is the id of the tree object that `folder` becomes.

    `writes` says the same file by file, for whoever shows or checks a change.
    """

    folder: str
    tree: str


class ChangedByHand(Refused):
    """Files that Sluice writes were changed by something else; `details` is the start of the difference."""

    def __init__(self, sentence: str, details: str) -> None:
        super().__init__(sentence)
        self.details = details


def since_retired(
    snapshot: Snapshot, commits: Sequence[ReleaseCommit], model: str, environment: str
) -> Sequence[ReleaseCommit]:
    """Of one folder's history, newest first, what came after people last removed the folder; all of it where none did.

    No release reaches across such a commit, and there is nothing before it to go back to.
    """
    folder = release_dir(model, environment)
    for index, commit in enumerate(commits):
        if not commit.by_sluice and snapshot.at(commit.id).tree_id(folder) is None:
            return commits[:index]
    return commits


def last_action(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """What `git revert` would take: the newest Sluice action in force, as a list of one, or of none.

    `commits` is the whole history of one folder, newest first.
    """
    return _actions(commits)[-1:]


def last_release(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """Every step of the newest release in force, oldest first: the actions in a row that promote one version.

    What was only rendered between the steps or after them goes with them.
    """
    actions = _actions(commits)
    version = next((action.version for action in reversed(actions) if action.version is not None), None)
    start = len(actions)
    for index in reversed(range(len(actions))):
        if actions[index].version not in (None, version):
            break
        if actions[index].version is not None:
            start = index
    return actions[start:]


def rollback(
    snapshot: Snapshot,
    commits: Sequence[ReleaseCommit],
    model: str,
    environment: str,
    requested_by: str,
    reason: str | None = None,
    undo: Sequence[str] | None = None,
) -> Restore | None:
    """The change that takes back the newest action in force there, or the actions with the ids `undo`.

    `commits` is the whole history of the folder at `snapshot`. Give `undo`, from `last_action` or `last_release`
    when the decision was made, wherever the change may be computed again on a newer head: without it, two rollbacks
    at once take back two actions. Gives None where everything in `undo` was taken back already.

    Raises:
        Refused: nothing was released, or nothing was there before; `ChangedByHand` where the folder is not as the
            action left it.
        Conflict: something newer than `undo` was released since.
    """
    commits = since_retired(snapshot, commits, model, environment)
    taken = _to_undo(commits, model, environment, undo)
    if not taken:
        return None
    folder = release_dir(model, environment)
    _ensure_untouched(snapshot, commits, taken, folder)
    before = snapshot.at(taken[0].id).before()
    tree = before.tree_id(folder)
    if tree is None or before.read(release_file(model, environment)) is None:
        raise Refused(
            f"There is nothing to roll back to: {model} had no release in {environment} before"
            f" {taken[0].id[:12]}; promote another version instead."
        )
    return _restore(snapshot, before, taken, (model, environment, folder, tree), requested_by, reason)


def ensure_ours(snapshot: Snapshot, commits: Sequence[ReleaseCommit], model: str, environment: str) -> None:
    """Make sure that the release folder is as some action of Sluice left it, or that it does not exist.

    A person's `git revert` passes, and so does an edit that was taken back. `commits` is the folder's whole history.

    Raises:
        ChangedByHand: it is not; the sentence names the commit and its author.
    """
    folder = release_dir(model, environment)
    now = snapshot.tree_id(folder)
    ours = [commit for commit in commits if commit.by_sluice]
    if now is None or any(snapshot.at(commit.id).tree_id(folder) == now for commit in ours):
        return
    newest = snapshot.at(ours[0].id) if ours else snapshot.before()
    raise _changed(snapshot, commits, newest, folder)


def _actions(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    kept = (trailers.INIT, trailers.ROLLBACK)
    return [commit for commit in effective(commits) if commit.by_sluice and commit.action not in kept]


def _to_undo(
    commits: Sequence[ReleaseCommit], model: str, environment: str, undo: Sequence[str] | None
) -> list[ReleaseCommit]:
    """The actions to take back, oldest first."""
    if undo is None:
        newest = last_action(commits)
        if not newest:
            raise Refused(
                f"There is nothing to roll back: no release of {model} by Sluice is in force in {environment}."
            )
        return newest
    actions = _actions(commits)
    wanted = [action for action in actions if action.id in undo]
    if wanted and (len(wanted) != len(set(undo)) or wanted != actions[-len(wanted) :]):
        raise Conflict(
            f"{model} moved on in {environment} since this rollback was decided: look at `sluice history {model}"
            f" --env {environment}` and decide again."
        )
    return wanted


def _ensure_untouched(
    snapshot: Snapshot, commits: Sequence[ReleaseCommit], taken: Sequence[ReleaseCommit], folder: str
) -> None:
    """Each action has to start where the one before it ended, and the newest has to end in what is there now."""
    after = [snapshot.at(action.id) for action in taken]
    starts = [each.before() for each in after[1:]] + [snapshot]
    for end, start in zip(after, starts, strict=True):
        if end.tree_id(folder) != start.tree_id(folder):
            raise _changed(start, commits, end, folder)


def _changed(now: Snapshot, commits: Sequence[ReleaseCommit], then: Snapshot, folder: str) -> ChangedByHand:
    """The refusal, naming the newest commit by a person there, and the files that differ."""
    person = next((commit for commit in commits if not commit.by_sluice), None)
    who = f" in {person.id[:12]} ({person.author}, {person.subject!r})" if person else ""
    undo = f"take it back with `git revert {person.id[:12]}`" if person else "put it back"
    paths = _differing(now, then, folder)
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    return ChangedByHand(
        f"{folder} was changed by hand{who}, in {shown}: look at the difference and {undo}, then try again.",
        then.diff(now, folder),
    )


def _differing(one: Snapshot, other: Snapshot, folder: str) -> list[str]:
    """The paths in the folder with other bytes or another mode, from the folder on."""
    here, there = one.entries(folder), other.entries(folder)
    paths = {path for path, _ in here.items() ^ there.items()}
    return sorted(path.removeprefix(folder + "/") for path in paths)


def _restore(
    snapshot: Snapshot,
    before: Snapshot,
    taken: Sequence[ReleaseCommit],
    where: tuple[str, str, str, str],
    requested_by: str,
    reason: str | None,
) -> Restore:
    model, environment, folder, tree = where
    release = read_release(before, model, environment)
    weight = release.canary.weight if release and release.canary else 0
    version = next((action.version for action in reversed(taken) if action.version is not None), None)
    said = {
        trailers.MODEL: model,
        trailers.ENVIRONMENT: environment,
        trailers.ACTION: trailers.ROLLBACK,
        trailers.CANARY_WEIGHT: str(weight),
        trailers.REQUESTED_BY: requested_by,
    }
    if version is not None:
        said |= {trailers.VERSION: str(version), trailers.HOLDS: str(version)}
    what = f"{model}@{version}" if version is not None else model
    reverts = "\n".join(f"This reverts commit {action.id}." for action in reversed(taken))
    return Restore(
        writes={f"{folder}/{path}": before.read(f"{folder}/{path}") for path in _differing(snapshot, before, folder)},
        subject=f"Roll back {what} in {environment}",
        body="\n\n".join(part for part in (reverts, reason) if part),
        trailers=said,
        folder=folder,
        tree=tree,
    )
