"""How long another environment has run a version, told by its history in git."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops.history import held, history
from gitops.layout import release_dir
from gitops.release import Deployed, Release
from gitops.state import read_environment, read_release
from registry.errors import InvalidInput
from registry.names import EnvironmentName

if TYPE_CHECKING:
    from gitops.snapshot import Commit, Snapshot


class Soak(BaseModel):
    """How a version does in another environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: EnvironmentName
    since: datetime | None
    """Since when it is the stable version there, at least; None where it is not."""
    stable: int | None = None
    """The version that is stable there, if any is."""
    held: bool = False
    """Whether it was taken back there, or is held for another reason."""


def soak(snapshot: Snapshot, model: str, environment: str, to: Deployed, enough: datetime) -> Soak:
    """Since when `to` has been the stable version of `environment` without a break, up to `snapshot`.

    History is read back to the commit that was in force at `enough` and no further, for each file of it may have to
    come from the remote.

    It counts from when the commit that made it stable got to the branch, which for a proposal is when it was merged,
    with the very image that is asked for now. A rollback, another
    stable version or another image in between begins it anew; a canary beside it does not, and having been one does
    not count, for then the others had most of the traffic. Whether its pods were healthy all that time is not in git:
    those that were not are what a rollback is for, and that ends it.

    Raises:
        NotFound: there is no such environment.
        InvalidInput: its release file cannot be right.
    """
    read_environment(snapshot, environment)
    now = read_release(snapshot, model, environment)
    stable = now.stable.version if now else None
    if not _runs(now, to):
        return Soak(environment=environment, since=None, stable=stable)
    path = release_dir(model, environment)
    # a proposal was merged later than it was committed, and what side by side branches did is in no single line
    lines = (snapshot.commits([f":(literal){path}"]), snapshot.landings([f":(literal){path}"]))
    found = [_since(snapshot, line, model, environment, to, enough) for line in lines]
    return Soak(
        environment=environment,
        since=None if None in found else max(one for one in found if one is not None),
        stable=stable,
        held=to.version in held(history(snapshot, model, environment)),
    )


def _since(
    snapshot: Snapshot, commits: Iterable[Commit], model: str, environment: str, to: Deployed, enough: datetime
) -> datetime | None:
    """When the oldest was made of the commits, newest first, that have `to` as stable without a break."""
    since = None
    for commit in commits:
        if not _runs(_release_at(snapshot, commit.id, model, environment), to):
            break
        since = commit.committed
        if since <= enough:
            break
    return since


def _runs(release: Release | None, to: Deployed) -> bool:
    return release is not None and (release.stable.version, release.stable.model_image) == (to.version, to.model_image)


def _release_at(snapshot: Snapshot, commit_id: str, model: str, environment: str) -> Release | None:
    try:
        return read_release(snapshot.at(commit_id), model, environment)
    except InvalidInput:  # a person broke the file once, and nobody knows what ran then
        return None
