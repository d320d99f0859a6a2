"""What the GitOps repository's history knows of versions: the registry asks it for lineage and before it deletes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from gitops.history import ReleaseCommit, history
from gitops.message import PROMOTE
from gitops.state import all_releases
from registry.errors import InvalidInput, NotFound
from registry.lineage import Deployment
from registry.names import VersionRef, check_label

if TYPE_CHECKING:
    from gitops.repository import Repository

_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class GitReleases:
    """`registry.lineage.Releases`, read from the head of a repository that is opened when it is first asked."""

    def __init__(self, repository: Callable[[], Repository]) -> None:
        self._repository = repository

    def naming(self, model: str) -> Mapping[int, Sequence[str]]:
        """By version, the environments whose release names it now, as its stable version or its canary.

        Raises:
            Unavailable: the repository cannot be reached.
            InvalidInput: a release file cannot be right.
        """
        check_label(model)
        found: dict[int, list[str]] = {}
        for release in all_releases(self._repository().head(), model):
            for deployed in release.shares:
                found.setdefault(deployed.version, []).append(release.environment)
        return found

    def of(self, ref: VersionRef) -> tuple[Deployment, ...]:
        """The commits that are about a version, newest first: promotions, steps, and the rollback that took it back."""
        commits = history(self._repository().head(), ref.model)
        return tuple(_deployment(commit) for commit in commits if ref.number in (commit.version, *commit.holds))

    def by(self, commit: str) -> tuple[Deployment, ...]:
        """What one commit, given by its id or the first seven digits of it or more, deployed.

        Raises:
            InvalidInput: it is no commit's id.
            NotFound: no release commit has that id.
        """
        if not _COMMIT.fullmatch(commit):
            raise InvalidInput(f"{commit[:80]!r} is not a commit: give seven or more hexadecimal digits of its id.")
        found = [one for one in history(self._repository().head()) if one.id.startswith(commit)]
        if not found:
            raise NotFound(f"No commit {commit} changed a release: `sluice history MODEL` lists those that did.")
        return tuple(_deployment(one) for one in found if one.by_sluice)


def _deployment(commit: ReleaseCommit) -> Deployment:
    return Deployment(
        commit=commit.id,
        at=commit.time,
        by=commit.requested_by or f"{commit.author} <{commit.email}>",
        action=commit.action or "",
        model=commit.model or "",
        number=commit.version,
        environment=commit.environment or "",
        # the trailer is the canary's, which is gone when its version has all of the traffic
        weight=100 if commit.action == PROMOTE and commit.weight == 0 else commit.weight,
    )
