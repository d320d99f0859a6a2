"""Promoting: one version takes a share of one environment's traffic, as one change to commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from gitops import message as trailers
from gitops.config import default_model_file, parse_model
from gitops.history import ReleaseCommit, held
from gitops.layout import model_file, release_dir, release_file
from gitops.release import Deployed, Release, advance
from gitops.render import render
from gitops.rollback import ensure_ours
from gitops.state import read_environment, read_release
from gitops.tree import Change, Tree
from registry.errors import Conflict, InvalidInput, Refused
from registry.names import EnvironmentName, ModelName

if TYPE_CHECKING:
    from gitops.snapshot import Snapshot


class Promotion(BaseModel):
    """What a person or a pipeline asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    environment: EnvironmentName
    to: Deployed
    weight: int = Field(description="percentage of the traffic, 1 to 100")
    requested_by: str
    unhold: str = Field(default="", description="why a held version may come back; empty where it may not")


def promote(snapshot: Snapshot, commits: Sequence[ReleaseCommit], wanted: Promotion) -> Change | None:
    """The change that makes it so, or None where it is so already.

    `commits` is the whole history of the release folder at `snapshot`, newest first. A model that is new here gets
    its settings file, which is people's from then on.

    Raises:
        NotFound: there is no such environment.
        InvalidInput: the weight or a settings file cannot be right.
        Conflict: another version is the canary, or another release has the same Argo CD Application.
        Refused: the version is held, or the folder was changed by hand.
    """
    model, environment = wanted.model, wanted.environment
    read_environment(snapshot, environment)
    _ensure_only_application(snapshot, model, environment)
    ensure_ours(snapshot, commits, model, environment)
    before = read_release(snapshot, model, environment)
    after = advance(before, model, environment, wanted.to, wanted.weight)
    is_held = wanted.to.version in held(commits)
    if is_held and not wanted.unhold and after != before:
        raise Refused(
            f"{model}@{wanted.to.version} was rolled back from {environment} and is held: fix what was wrong in a new"
            " version, or say why this one may come back with --unhold REASON."
        )
    writes = rendered(snapshot, after)
    if not writes:
        return None
    said = {
        trailers.MODEL: model,
        trailers.VERSION: str(wanted.to.version),
        trailers.ENVIRONMENT: environment,
        trailers.ACTION: trailers.PROMOTE,
        trailers.CANARY_WEIGHT: str(after.canary.weight if after.canary else 0),
        trailers.IMAGE_DIGEST: wanted.to.model_image.rpartition("@")[2],
        trailers.REQUESTED_BY: wanted.requested_by,
    }
    if is_held:
        said[trailers.UNHOLD] = str(wanted.to.version)
    return Change(writes=writes, subject=_subject(after, wanted), body=wanted.unhold, trailers=said)


def rendered(tree: Tree, release: Release) -> dict[str, bytes | None]:
    """What has to be written and removed so that the repository holds just what `release` renders.

    Raises:
        NotFound: there is no such environment.
        InvalidInput: a settings file cannot be right.
    """
    path = model_file(release.model)
    settings = tree.read(path)
    wanted: dict[str, bytes] = {}
    if settings is None:
        settings = wanted[path] = default_model_file(release.model)
    environment = read_environment(tree, release.environment)
    wanted |= render(release, parse_model(settings, path), environment)
    gone = set(tree.paths(release_dir(release.model, release.environment))) - set(wanted)
    changed = {path: data for path, data in wanted.items() if tree.read(path) != data}
    return {**changed, **dict.fromkeys(sorted(gone))}


def _ensure_only_application(tree: Tree, model: str, environment: str) -> None:
    """Refuse where `<model>-<environment>`, the name of the Application, is that of another release.

    Every other place of the hyphen between the two is looked up, which is a few reads however many models there are.
    """
    name = f"{model}-{environment}"
    for at in (index for index, letter in enumerate(name) if letter == "-" and index != len(model)):
        other, place = name[:at], name[at + 1 :]
        try:
            found = tree.read(release_file(other, place))
        except InvalidInput:  # no names: too long, or an environment that starts with a digit
            continue
        if found is not None:
            raise Conflict(
                f"{model} in {environment} and {other} in {place} would both be the Argo CD Application {name}: give"
                f" the model another name, or remove {release_dir(other, place)} first if it is retired."
            )


def _subject(after: Release, wanted: Promotion) -> str:
    what = f"{wanted.model}: {wanted.environment}"
    if after.canary:
        return f"{what} canary v{wanted.to.version} at {after.canary.weight} %"
    return f"{what} stable v{wanted.to.version}"
