"""How commits relate where a release is concerned: what is asked about, and how far Argo CD is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops.argocd.truth import Reach
from gitops.layout import release_dir
from gitops.release import Release
from gitops.state import read_release
from registry.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from gitops.snapshot import Snapshot

_COMMIT = re.compile(r"[0-9a-f]{7,40}", re.ASCII)


class Asked(BaseModel):
    """A commit whose release is asked about, and what it wants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str
    release: Release
    tree: str | None
    """Of the folder that Sluice writes for it, and Argo CD syncs the manifests of."""


def asked(head: Snapshot, model: str, environment: str, commit: str | None = None) -> Asked:
    """What the newest commit wants there, or `commit`; where that changed nothing there, the last before it that did.

    Raises:
        InvalidInput: `commit` is no commit's id.
        NotFound: nothing was released there, or there is no such commit on the branch.
    """
    at = head
    if commit is not None:
        if not _COMMIT.fullmatch(commit):
            raise InvalidInput(f"{commit[:80]!r} is not a commit: give its id, or at least 7 digits of it.")
        at = head.at(commit)
    release = read_release(at, model, environment)
    folder = release_dir(model, environment)
    changed = _changes(at, folder)
    if release is None or not changed:
        raise NotFound(f"No version of {model} runs in {environment}: `sluice status` shows what does.")
    if commit is not None and changed[0] not in _changes(head, folder):
        raise NotFound(f"Commit {commit[:40]} is not on the branch: give one that `sluice history` shows.")
    return Asked(commit=changed[0], release=release, tree=at.tree_id(folder))


def superseded_by(head: Snapshot, wanted: Asked) -> str | None:
    """The newest commit that changed what runs there, where that is no longer what `wanted` wants."""
    model, environment = wanted.release.model, wanted.release.environment
    if head.tree_id(release_dir(model, environment)) == wanted.tree:
        return None
    return _changes(head, release_dir(model, environment))[0]


def reach(head: Snapshot, wanted: Asked, revision: str) -> Reach:
    """How the commit `revision` relates to the one that is asked about."""
    model, environment = wanted.release.model, wanted.release.environment
    compared = same(head, model, environment, revision, wanted.tree)
    if compared is Reach.SAME and wanted.commit not in _changes(head.at(revision), release_dir(model, environment)):
        return Reach.BEFORE  # the same by chance: what was there before a change that was taken back
    return compared


def same(head: Snapshot, model: str, environment: str, revision: str, tree: str | None) -> Reach:
    """Whether the commit `revision` has the folder `tree` there, however it came by them."""
    if not _COMMIT.fullmatch(revision):
        return Reach.NONE
    try:
        there = head.at(revision)
    except NotFound:
        return Reach.FOREIGN
    return Reach.SAME if there.tree_id(release_dir(model, environment)) == tree else Reach.BEFORE


def _changes(snapshot: Snapshot, folder: str) -> list[str]:
    return [commit.id for commit in snapshot.commits([f":(literal){folder}"])]
