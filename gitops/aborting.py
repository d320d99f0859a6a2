"""Aborting a canary: a step forward to the stable version alone, where a rollback would go back to what was before.

A rollback brings the folder's old bytes back; an abort renders with people's settings of now. Either holds the version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops import message as trailers
from gitops.history import ReleaseCommit
from gitops.promote import rendered
from gitops.release import abort
from gitops.rollback import ensure_ours
from gitops.state import read_release
from gitops.tree import Change
from registry.errors import Conflict, NotFound
from registry.names import EnvironmentName, ModelName

if TYPE_CHECKING:
    from gitops.snapshot import Snapshot


class Abort(BaseModel):
    """Whose canary is to go, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    environment: EnvironmentName
    version: int | None = None
    """Where it is given, the canary must be of this version."""
    requested_by: str
    reason: str = ""
    workflow: str = ""
    """The Argo workflow that asks, by name, where one does."""


def abort_canary(snapshot: Snapshot, commits: Sequence[ReleaseCommit], wanted: Abort) -> Change | None:
    """The change after which the canary is gone and held, or None where there is no canary.

    `commits` is the release's whole history at `snapshot`, newest first.

    Raises:
        NotFound: nothing was released there.
        InvalidInput: a settings file cannot be right.
        Conflict: the canary is of another version than the one named.
        Refused: the folder was changed by hand.
    """
    model, environment = wanted.model, wanted.environment
    ensure_ours(snapshot, commits, model, environment)
    release = read_release(snapshot, model, environment)
    if release is None:
        raise NotFound(f"{environment} runs no version of {model}: `sluice status` shows what runs.")
    canary = release.canary
    if canary is None:
        return None
    if wanted.version is not None and wanted.version != canary.version:
        raise Conflict(
            f"The canary of {model} in {environment} is version {canary.version}, not {wanted.version}: look at"
            " `sluice status` and decide again."
        )
    said = {
        trailers.MODEL: model,
        trailers.VERSION: str(canary.version),
        trailers.ENVIRONMENT: environment,
        trailers.ACTION: trailers.ABORT,
        trailers.CANARY_WEIGHT: "0",
        trailers.REQUESTED_BY: wanted.requested_by,
        trailers.HOLDS: str(canary.version),
    }
    if wanted.workflow:
        said[trailers.WORKFLOW] = wanted.workflow
    return Change(
        writes=rendered(snapshot, abort(release)),
        subject=f"{model}: {environment} canary v{canary.version} aborted",
        body=wanted.reason,
        trailers=said,
    )
