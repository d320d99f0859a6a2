"""Rendering again after people edited settings: the same versions and weights, with the settings of now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gitops import message as trailers
from gitops.history import ReleaseCommit
from gitops.promote import rendered
from gitops.release import Release
from gitops.rollback import ensure_ours
from gitops.state import read_release
from gitops.tree import Change
from registry.errors import NotFound

if TYPE_CHECKING:
    from gitops.snapshot import Snapshot


def is_rendered(snapshot: Snapshot, release: Release) -> bool:
    """Whether the repository holds just what the release renders, which needs no look at its history.

    Raises:
        NotFound: there is no such environment.
        InvalidInput: a settings file cannot be right.
    """
    return not rendered(snapshot, release)


def rerender(
    snapshot: Snapshot, commits: Sequence[ReleaseCommit], model: str, environment: str, requested_by: str
) -> Change | None:
    """The change that brings one release's manifests up to date, or None where they are.

    Raises:
        NotFound: nothing was released there.
        InvalidInput: a settings file cannot be right.
        Refused: the folder was changed by hand.
    """
    ensure_ours(snapshot, commits, model, environment)
    release = read_release(snapshot, model, environment)
    if release is None:
        raise NotFound(f"{environment} runs no version of {model}: promote one first.")
    writes = rendered(snapshot, release)
    if not writes:
        return None
    return Change(
        writes=writes,
        subject=f"{model}: {environment} rendered with its settings of now",
        trailers={
            trailers.MODEL: model,
            trailers.ENVIRONMENT: environment,
            trailers.ACTION: trailers.RENDER,
            trailers.CANARY_WEIGHT: str(release.canary.weight if release.canary else 0),
            trailers.REQUESTED_BY: requested_by,
        },  # no Version: no version came or went, so none is held when this is rolled back
    )
