"""How the releases of a model came about, read from git and kept nowhere else.

Two things follow from the history alone:

- what is still in force: a commit that says "This reverts commit <id>" takes that one back, whether Sluice wrote it or
  a person with plain `git revert`, and a revert that was itself reverted takes nothing back;
- which versions are held: by a rollback, an abort, a person's `git revert` or `sluice hold`, until a commit says
  `Unhold: <version>`. Holds are not kept in release.yaml, because a rollback restores exactly the tree that was there
  before (invariant 11), and a file that also said "held" would not be that tree; nor in a list of any kind, because
  a person's `git revert` could not keep it up to date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops import message as trailers
from gitops.layout import HOLDS, MODELS, holds_file, release_dir
from registry.errors import NotFound
from registry.names import check_label

if TYPE_CHECKING:
    from gitops.snapshot import Commit, Snapshot

_REVERTS = re.compile(r"\bThis reverts commit ([0-9a-f]{7,64})\b")


class ReleaseCommit(BaseModel):
    """One commit in the history of a release. Times are UTC; what a commit does not say is None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    time: datetime
    author: str
    email: str
    subject: str
    body: str = ""
    model: str | None = None
    environment: str | None = None
    action: str | None = None
    version: int | None = None
    weight: int | None = None
    release_id: str | None = None
    requested_by: str | None = None
    workflow: str | None = None
    override: tuple[str, ...] = ()
    reverts: tuple[str, ...] = ()
    holds: tuple[int, ...] = ()
    unholds: int | None = None

    @property
    def by_sluice(self) -> bool:
        """Whether Sluice made it, which its trailers say; any other commit is a person's."""
        return self.action is not None and self.release_id is not None

    @classmethod
    def of(cls, commit: Commit) -> ReleaseCommit:
        """Read the commit's message. Trailers that cannot be right count as absent."""
        subject, body, said = trailers.parse(commit.message)
        return cls(
            id=commit.id,
            time=commit.time,
            author=commit.author,
            email=commit.email,
            subject=subject,
            body=body,
            model=said.get(trailers.MODEL),
            environment=said.get(trailers.ENVIRONMENT),
            action=said.get(trailers.ACTION),
            version=_number(said.get(trailers.VERSION)),
            weight=_number(said.get(trailers.CANARY_WEIGHT)),
            release_id=said.get(trailers.RELEASE_ID),
            requested_by=said.get(trailers.REQUESTED_BY),
            workflow=said.get(trailers.WORKFLOW),
            override=_names(said.get(trailers.OVERRIDE)),
            reverts=_reverts(body, said.get(trailers.ACTION)),
            holds=_numbers(said.get(trailers.HOLDS)),
            unholds=_number(said.get(trailers.UNHOLD)),
        )


class Hold(BaseModel):
    """Why a version is held: by which commit, since when and by whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    commit: str
    action: str
    """What held it: rollback, abort or hold; `revert` for a person's `git revert`."""
    since: datetime
    by: str
    reason: str


def history(
    snapshot: Snapshot, model: str | None = None, environment: str | None = None, limit: int | None = None
) -> list[ReleaseCommit]:
    """The commits that changed a release or its holds, of a model, an environment, both or all, newest first.

    `held` and `effective` need the whole history of one release: a model, an environment, and no limit.

    Raises:
        InvalidInput: a bad name.
    """
    if model and environment:
        return list(islice(_of_one(snapshot, model, environment), limit))
    one, other = check_label(model) if model else "*", _environment(environment)
    pathspecs = [f":(glob){MODELS}/{one}/{other}/**", f":(glob){MODELS}/{one}/{HOLDS}{other}.yaml"]
    return [ReleaseCommit.of(commit) for commit in snapshot.commits(pathspecs, limit)]


def touches(snapshot: Snapshot, commit_id: str, path: str) -> bool:
    """Whether a commit left something else at `path` than each of its parents had there."""
    here = snapshot.at(commit_id)
    parents = [snapshot.at(parent) for parent in here.commit.parents] if here.commit else []
    return all(_content(one, path) != _content(here, path) for one in parents or [here.before()])


def _content(snapshot: Snapshot, path: str) -> str | tuple[str, str] | None:
    """What tells the content of a folder or a file from another's, without reading a file that may not be here yet."""
    return snapshot.tree_id(path) or snapshot.entries(path).get(path)


def _of_one(snapshot: Snapshot, model: str, environment: str) -> Iterator[ReleaseCommit]:
    """The history of one release: of the model's folder, what is about this environment.

    One path alone is asked for, as git before 2.51 uses its index of changed paths for no more (revision.c,
    forbid_bloom_filters), and without it looks into every commit of the repository. Sluice's commits say which
    environment they are of; of others it is told by what they changed.
    """
    folder, holds = release_dir(model, environment), holds_file(model, environment)
    for commit in snapshot.commits([f":(literal){MODELS}/{model}"]):
        one = _through_merges(snapshot, ReleaseCommit.of(commit), f":(literal){MODELS}/{model}")
        if one.by_sluice and one.environment is not None:
            wanted = one.environment == environment
        else:
            wanted = touches(snapshot, one.id, folder) or touches(snapshot, one.id, holds)
        if wanted:
            yield one


def _through_merges(snapshot: Snapshot, commit: ReleaseCommit, pathspec: str) -> ReleaseCommit:
    """The commit; where it takes back a merge, as a forge's "Revert" button does, also what was merged by that."""
    merged: list[str] = []
    for short in commit.reverts:
        try:
            merge = snapshot.at(short)
        except NotFound:
            continue
        if merge.commit and len(merge.commit.parents) > 1:
            before = {one.id for one in merge.before().commits([pathspec])}
            merged += [one.id for one in merge.commits([pathspec]) if one.id not in before]
    return commit.model_copy(update={"reverts": (*commit.reverts, *merged)}) if merged else commit


def effective(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """Of one folder's history, newest first, the commits still in force, oldest first: the stack to roll back on."""
    return [commit for commit in reversed(in_force(commits)) if not undone_by(commit, commits)]


def held(commits: Sequence[ReleaseCommit]) -> set[int]:
    """Of one release's history, newest first, the versions that must not come back until somebody says so."""
    return set(holds(commits))


def holds(commits: Sequence[ReleaseCommit]) -> Mapping[int, Hold]:
    """Of one release's history, newest first, the versions that are held, and what holds each.

    A version is held by a rollback, an abort or a hold, and likewise by a person's `git revert` of what promoted it,
    until a commit says `Unhold`. A promotion that does not say so changes nothing of it: it may only have rendered what
    runs again. What was itself reverted decides nothing.
    """
    found: dict[int, Hold] = {}
    decided: set[int] = set()
    for commit in in_force(commits):
        taken = _taken_back(commit, undone_by(commit, commits))
        found |= {version: _hold(version, commit) for version in taken - decided}
        decided |= taken
        if commit.by_sluice and commit.unholds is not None:
            decided.add(commit.unholds)
    return found


def _taken_back(commit: ReleaseCommit, undone: Sequence[ReleaseCommit]) -> set[int]:
    """The versions that Sluice's commit says it holds, or that a person's revert took out of service."""
    if commit.by_sluice:
        return set(commit.holds)
    promoted = [one for one in undone if one.by_sluice and one.action == trailers.PROMOTE]
    return {one.version for one in promoted if one.version is not None}


def _hold(version: int, commit: ReleaseCommit) -> Hold:
    reason = commit.subject  # of a person's revert, which seldom says more
    if commit.by_sluice:
        # a rollback's first paragraph is what it reverts
        reason = commit.body.partition("\n\n")[2] if commit.action == trailers.ROLLBACK else commit.body
    return Hold(
        version=version,
        commit=commit.id,
        action=(commit.action or "") if commit.by_sluice else "revert",
        since=commit.time,
        by=commit.requested_by or f"{commit.author} <{commit.email}>",
        reason=reason,
    )


def in_force(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """Of one release's history, newest first, the commits that no commit in force takes back, reverts among them."""
    dead: set[str] = set()
    alive = []
    for commit in commits:
        if commit.id not in dead:
            alive.append(commit)
            dead |= {one.id for one in undone_by(commit, commits)}
    return alive


def undone_by(commit: ReleaseCommit, commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """Which of `commits` the commit says that it reverts; ids may be shortened, as `git revert --reference` does."""
    if not commit.reverts:
        return []
    return [one for one in commits for short in commit.reverts if one.id.startswith(short) and one.id != commit.id]


def _reverts(body: str, action: str | None) -> tuple[str, ...]:
    """What the message takes back. Sluice says so in the first paragraph, below it is what people gave as reason."""
    if action is None:
        return tuple(_REVERTS.findall(body))
    return tuple(_REVERTS.findall(body.split("\n\n")[0])) if action == trailers.ROLLBACK else ()


def _environment(name: str | None) -> str:
    return check_label(name, "environment") if name else "*"


def _numbers(text: str | None) -> tuple[int, ...]:
    found = [_number(part.strip()) for part in (text or "").split(",")]
    return tuple(number for number in found if number is not None)


def _names(text: str | None) -> tuple[str, ...]:
    """The words of a list with commas, in their order, each once."""
    return tuple(dict.fromkeys(name for part in (text or "").split(",") if (name := part.strip())))


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,10}", text) else None
