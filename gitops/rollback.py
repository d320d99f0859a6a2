"""Rolling back: what `git revert` would do, restricted to one release folder, as a change to commit.

The folder's tree becomes the very tree object that it was before the actions that are taken back, so that files, bytes
and modes are the same by construction. Where the folder was changed since by anything but Sluice, nothing is changed
and the difference is shown, unless whoever asks wants that overwritten. What happened elsewhere in the repository in
between stays as it is.

Always the newest actions in force are taken back, never an early one alone: git may revert that without a conflict and
leave a weight that points to a Service which the revert deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from gitops import message as trailers
from gitops.history import ReleaseCommit, holds, in_force, touches
from gitops.layout import release_dir
from gitops.release import Deployed, Release
from gitops.stack import Decision, actions, beneath
from gitops.state import read_release
from gitops.tree import Change
from registry.errors import Conflict, InvalidInput, Refused

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
    """Of one release's history, newest first, what came after people last removed the folder; all of it where none did.

    No release reaches across such a commit, and there is nothing before it to go back to.
    """
    folder = release_dir(model, environment)
    for index, commit in enumerate(commits):
        if not commit.by_sluice and snapshot.at(commit.id).tree_id(folder) is None:
            return commits[:index]
    return commits


def rollback(
    snapshot: Snapshot,
    commits: Sequence[ReleaseCommit],
    model: str,
    environment: str,
    requested_by: str,
    reason: str | None = None,
    undo: Sequence[str] | None = None,
    workflow: str = "",
) -> Restore | None:
    """The change that takes back the newest action in force there, or the actions with the ids `undo`.

    `commits` is the whole history of the release at `snapshot`. Give `undo`, from `last_action` or `last_release`
    when the decision was made, wherever the change may be computed again on a newer head: without it, two rollbacks
    at once take back two actions. Gives None where everything in `undo` was taken back already.

    Raises:
        Refused: nothing was released, nothing was there before, or a held version would come back; `ChangedByHand`
            where the folder is not as the action left it.
        Conflict: something newer than `undo` was released since.
    """
    alive = since_retired(snapshot, commits, model, environment)
    taken = _to_undo(alive, model, environment, undo)
    if not taken:
        return None
    _ensure_untouched(snapshot, alive, taken, release_dir(model, environment))
    asked = _Asked(model, environment, requested_by, reason or "", workflow)
    return _restore(snapshot, commits, snapshot.at(taken[0].id).before(), taken, [], asked)


def restore(
    snapshot: Snapshot,
    commits: Sequence[ReleaseCommit],
    model: str,
    environment: str,
    requested_by: str,
    decision: Decision,
    reason: str | None = None,
    workflow: str = "",
) -> Restore | None:
    """Like `rollback`, but over what was changed by hand: the folder becomes what it was, outright.

    Raises:
        Refused: nothing was there before, or a held version would come back.
        Conflict: something was released or changed by hand since the decision.
    """
    alive = since_retired(snapshot, commits, model, environment)
    hand = by_hand(snapshot, alive, model, environment)
    stack = actions(beneath(alive, hand))
    taken = [action for action in stack if action.id in decision.undo]
    over = [commit for commit in hand if commit.id in decision.over]
    if not taken and not over:
        return None
    begun = taken[0].id if taken else decision.to
    newer = {commit.id for commit in takewhile(lambda commit: commit.id != begun, alive)} | {one.id for one in taken}
    if newer & {commit.id for commit in [*stack, *hand]} != {*decision.undo, *decision.over}:
        raise _moved_on(model, environment)
    before = snapshot.at(decision.to) if decision.to else snapshot.at(taken[0].id).before()
    asked = _Asked(model, environment, requested_by, reason or "", workflow)
    return _restore(snapshot, commits, before, taken, over, asked)


def by_hand(snapshot: Snapshot, commits: Sequence[ReleaseCommit], model: str, environment: str) -> list[ReleaseCommit]:
    """The people's commits in force, newest first, that left the folder as no action of Sluice ever did.

    A `git revert` of the newest action is none of them; one of an early action alone is.
    """
    folder = release_dir(model, environment)
    known = {snapshot.at(commit.id).tree_id(folder) for commit in _ours(commits)} | {None}
    return [
        commit
        for commit in in_force(commits)
        if not commit.by_sluice
        and snapshot.at(commit.id).tree_id(folder) not in known
        and touches(snapshot, commit.id, folder)
    ]


def ensure_ours(snapshot: Snapshot, commits: Sequence[ReleaseCommit], model: str, environment: str) -> None:
    """Make sure that the release folder is as some action of Sluice left it, or that it does not exist.

    A person's `git revert` passes, and so does an edit that was taken back. `commits` is the release's whole history.

    Raises:
        ChangedByHand: it is not; the sentence names the commit and its author.
    """
    folder = release_dir(model, environment)
    now = snapshot.tree_id(folder)
    ours = _ours(commits)
    if now is None or any(snapshot.at(commit.id).tree_id(folder) == now for commit in ours):
        return
    newest = snapshot.at(ours[0].id) if ours else snapshot.before()
    raise changed(snapshot, commits, newest, folder)


def changed(now: Snapshot, commits: Sequence[ReleaseCommit], then: Snapshot, path: str) -> ChangedByHand:
    """The refusal: the newest commit by a person that touched `path`, the files that differ from `then`, and how."""
    people = (commit for commit in commits if not commit.by_sluice and touches(now, commit.id, path))
    person = next(people, None)
    who = f" in {person.id[:12]} ({person.author}, {person.subject!r})" if person else ""
    undo = f"take it back with `git revert {person.id[:12]}`" if person else "put it back"
    paths = _differing(now, then, path)
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    where = f", in {shown}" if paths != [path] else ""
    return ChangedByHand(
        f"{path} was changed by hand{who}{where}: look at the difference and {undo}, then try again.",
        then.diff(now, path),
    )


def _ours(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """Those by Sluice that wrote into the folder; what was only held or let come back says nothing of it."""
    return [one for one in commits if one.by_sluice and one.action not in (trailers.HOLD, trailers.LIFT)]


def _to_undo(
    commits: Sequence[ReleaseCommit], model: str, environment: str, undo: Sequence[str] | None
) -> list[ReleaseCommit]:
    """The actions to take back, oldest first."""
    stack = actions(commits)
    if undo is None:
        if not stack:
            raise Refused(
                f"There is nothing to roll back: no release of {model} by Sluice is in force in {environment}."
            )
        return stack[-1:]
    wanted = [action for action in stack if action.id in undo]
    if wanted and (len(wanted) != len(set(undo)) or wanted != stack[-len(wanted) :]):
        raise _moved_on(model, environment)
    return wanted


def _moved_on(model: str, environment: str) -> Conflict:
    return Conflict(
        f"{model} moved on in {environment} since this rollback was decided: look at `sluice history {model}"
        f" --env {environment}` and decide again."
    )


def _ensure_untouched(
    snapshot: Snapshot, commits: Sequence[ReleaseCommit], taken: Sequence[ReleaseCommit], folder: str
) -> None:
    """Each action has to start where the one before it ended, and the newest has to end in what is there now."""
    after = [snapshot.at(action.id) for action in taken]
    starts = [each.before() for each in after[1:]] + [snapshot]
    for end, start in zip(after, starts, strict=True):
        if end.tree_id(folder) != start.tree_id(folder):
            raise changed(start, commits, end, folder)


def _differing(one: Snapshot, other: Snapshot, folder: str) -> list[str]:
    """The paths in the folder with other bytes or another mode, from the folder on."""
    here, there = one.entries(folder), other.entries(folder)
    paths = {path for path, _ in here.items() ^ there.items()}
    return sorted(path.removeprefix(folder + "/") for path in paths)


class _Asked(NamedTuple):
    """Of what, by whom and why."""

    model: str
    environment: str
    requested_by: str
    reason: str
    workflow: str


def _restore(
    snapshot: Snapshot,
    commits: Sequence[ReleaseCommit],
    before: Snapshot,
    taken: Sequence[ReleaseCommit],
    over: Sequence[ReleaseCommit],
    asked: _Asked,
) -> Restore:
    """The change back to `before`, which reverts the actions `taken` and the commits by hand `over`."""
    model, environment = asked.model, asked.environment
    folder = release_dir(model, environment)
    tree, release = before.tree_id(folder), read_release(before, model, environment)
    if tree is None or release is None:
        first = taken[0].id[:12] if taken else "that commit"
        raise Refused(
            f"There is nothing to roll back to: {model} had no release in {environment} before"
            f" {first}; promote another version instead."
        )
    _ensure_none_comes_back(snapshot, commits, release)
    gone = {*taken, *over}
    hold = _to_hold(snapshot, commits, [one for one in commits if one in gone], release)
    newest = [action.version for action in reversed(taken) if action.version is not None]
    version = next((one for one in newest if one in hold), next(iter(newest), None))
    said = {
        trailers.MODEL: model,
        trailers.ENVIRONMENT: environment,
        trailers.ACTION: trailers.ROLLBACK,
        trailers.CANARY_WEIGHT: str(release.canary.weight if release.canary else 0),
        trailers.REQUESTED_BY: asked.requested_by,
    }
    if version is not None:
        said[trailers.VERSION] = str(version)
    if hold:
        said[trailers.HOLDS] = ", ".join(str(one) for one in sorted(hold))
    if asked.workflow:
        said[trailers.WORKFLOW] = asked.workflow
    what = f"{model}@{version}" if version is not None else model
    return Restore(
        writes={f"{folder}/{path}": before.read(f"{folder}/{path}") for path in _differing(snapshot, before, folder)},
        subject=f"Roll back {what} in {environment}"
        + (f" to v{release.stable.version}" if len(set(newest)) > 1 else ""),
        body="\n\n".join(part for part in (_reverts(commits, taken, over), asked.reason) if part),
        trailers=said,
        folder=folder,
        tree=tree,
    )


def _reverts(commits: Sequence[ReleaseCommit], taken: Sequence[ReleaseCommit], over: Sequence[ReleaseCommit]) -> str:
    """A line for each commit that is reverted, newest first."""
    lines = {action.id: f"This reverts commit {action.id}." for action in taken}
    lines |= {one.id: f"This reverts commit {one.id}, a change by hand that is overwritten." for one in over}
    return "\n".join(lines[commit.id] for commit in commits if commit.id in lines)


def _running(snapshot: Snapshot, model: str, environment: str) -> Release | None:
    """What runs, as far as it can be told: people may have left a file that says nothing."""
    try:
        return read_release(snapshot, model, environment)
    except InvalidInput:
        return None


def _ensure_none_comes_back(snapshot: Snapshot, commits: Sequence[ReleaseCommit], release: Release) -> None:
    """A held version that runs stays and gets no more, unless it is stable and what was beside it goes."""
    now = _running(snapshot, release.model, release.environment)
    running = {deployed.version: share for deployed, share in _shares(now).items()}
    if now and now.stable.version == release.stable.version:
        running[now.stable.version] = 100
    found = holds(commits)
    for deployed, share in release.shares.items():
        back, before = deployed.version, running.get(deployed.version, 0)
        if back in found and share > before:
            what = f"raise {release.model}@{back} to {share} %" if before else f"bring back {release.model}@{back}"
            raise Refused(
                f"This would {what}, which is held since {found[back].commit[:12]}: go further back with --to-version,"
                f" or first `sluice unhold {release.model}@{back} --env {release.environment} --reason REASON`."
            )


def _to_hold(
    snapshot: Snapshot, commits: Sequence[ReleaseCommit], gone: Sequence[ReleaseCommit], release: Release
) -> set[int]:
    """The versions that the rollback to `release` holds; `gone` is what it reverts, newest first.

    They are those that the actions gave more traffic, as if each were taken back by itself, those that are out of
    service now, and those that were held already by a commit that is reverted.
    """
    model, environment = release.model, release.environment
    risen: set[Deployed] = set()
    aborted: set[int | None] = set()
    for commit in gone:
        if commit.action == trailers.ABORT:
            aborted.add(commit.version)  # its trial is over, and whether it is held was decided since
        elif commit.by_sluice and commit.version not in aborted:
            after = snapshot.at(commit.id)
            shares, before = (_shares(_running(each, model, environment)) for each in (after, after.before()))
            risen |= {deployed for deployed, share in shares.items() if share > before.get(deployed, 0)}
    stays = {deployed.version for deployed in release.shares}
    left = {deployed.version for deployed in _shares(_running(snapshot, model, environment))} - stays
    reverted = {commit.id for commit in gone}
    kept = {version for version, hold in holds(commits).items() if hold.commit in reverted} - stays
    return {deployed.version for deployed in risen - {release.stable}} | left | kept


def _shares(release: Release | None) -> Mapping[Deployed, int]:
    return release.shares if release else {}
