"""How the releases of a model came about, read from git and kept nowhere else.

Two things follow from the history alone:

- what is still in force: a commit that says "This reverts commit <id>" takes that one back, whether Sluice wrote it or
  a person with plain `git revert`, and a revert that was itself reverted takes nothing back;
- which versions are held: those whose newest action is a rollback, until a promotion says `Unhold: <version>`. Holds
  are not kept in release.yaml, because a rollback restores exactly the tree that was there before (invariant 11), and
  a file that also said "held" would not be that tree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops import message as trailers
from gitops.layout import MODELS, release_dir
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
    reverts: tuple[str, ...] = ()
    holds: int | None = None
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
            reverts=_reverts(body, said.get(trailers.ACTION)),
            holds=_number(said.get(trailers.HOLDS)),
            unholds=_number(said.get(trailers.UNHOLD)),
        )


def history(
    snapshot: Snapshot, model: str | None = None, environment: str | None = None, limit: int | None = None
) -> list[ReleaseCommit]:
    """The commits that touched the release folders of a model, an environment, both or all, newest first.

    `held` and `effective` need the whole history of one folder: a model, an environment, and no limit.

    Raises:
        InvalidInput: a bad name.
    """
    if model and environment:
        pathspec = f":(literal){release_dir(model, environment)}"
    else:
        one, other = check_label(model) if model else "*", _environment(environment)
        pathspec = f":(glob){MODELS}/{one}/{other}/**"
    return [ReleaseCommit.of(commit) for commit in snapshot.commits([pathspec], limit)]


def effective(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """Of one folder's history, newest first, the commits still in force, oldest first: the stack to roll back on."""
    return [commit for commit in reversed(_in_force(commits)) if not _undone_by(commit, commits)]


def held(commits: Sequence[ReleaseCommit]) -> set[int]:
    """Of one folder's history, newest first, the versions that automation must not bring back.

    A version is held by a rollback, and likewise by a person's `git revert` of what promoted it, until a later
    promotion of it or one with the trailer `Unhold`. A rollback that was itself reverted holds nothing.
    """
    found: set[int] = set()
    decided: set[int] = set()
    for commit in _in_force(commits):
        undone = _undone_by(commit, commits)
        if undone or commit.action == trailers.ROLLBACK:
            found |= _taken_back(commit, undone) - decided
            decided |= found
        elif commit.by_sluice:
            decided |= {version for version in (commit.version, commit.unholds) if version is not None}
    return found


def _taken_back(commit: ReleaseCommit, undone: Sequence[ReleaseCommit]) -> set[int]:
    """The versions that a rollback holds, or that a person's revert took out of service."""
    if commit.by_sluice:
        return set() if commit.holds is None else {commit.holds}
    promoted = [one for one in undone if one.by_sluice and one.action != trailers.ROLLBACK]
    return {one.version for one in promoted if one.version is not None}


def _in_force(commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
    """Newest first, the commits that no commit in force takes back."""
    dead: set[str] = set()
    alive = []
    for commit in commits:
        if commit.id not in dead:
            alive.append(commit)
            dead |= {one.id for one in _undone_by(commit, commits)}
    return alive


def _undone_by(commit: ReleaseCommit, commits: Sequence[ReleaseCommit]) -> list[ReleaseCommit]:
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


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,10}", text) else None
