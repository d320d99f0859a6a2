"""Promoting: one version takes a share of one environment's traffic, as one change to commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from gitops import message as trailers
from gitops.argocd.applications import application_names
from gitops.config import Environment, default_model_file, parse_model
from gitops.gates import Evidence, Gate, Known, Way, ensure_open, soak
from gitops.history import Hold, ReleaseCommit, holds
from gitops.layout import model_file, release_dir, release_file
from gitops.release import Deployed, Release, advance
from gitops.render import render
from gitops.rollback import ensure_ours
from gitops.routers import check_weight_allowed
from gitops.state import read_environment, read_release
from gitops.tree import Change, Tree
from registry.errors import Conflict, InvalidInput, NotFound, Refused
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
    source: EnvironmentName | None = Field(default=None, description="the environment it is taken from")
    known: Known = Field(default_factory=Known, description="what gates are told of the version and of who asks")
    override: tuple[Gate, ...] = Field(default=(), description="the gates that refuse it and are to be passed over")
    reason: str = Field(default="", description="why it is done; needed for an override")
    way: Way = Field(default=Way.COMMIT, description="how the change is to get to the branch")
    workflow: str = Field(default="", description="the Argo workflow that asks, by name")


def promote(snapshot: Snapshot, commits: Sequence[ReleaseCommit], wanted: Promotion) -> Change | None:
    """The change that makes it so, or None where it is so already.

    `commits` is the whole history of the release folder at `snapshot`, newest first. A model that is new here gets
    its settings file, which is people's from then on. Gates are asked only where the release itself changes.

    Raises:
        NotFound: there is no such environment.
        InvalidInput: the weight or a settings file cannot be right, or an override has no reason or no use.
        Conflict: another version is the canary, or another release has the same Argo CD Application, or the
            environment it is taken from does not run it any more.
        Refused: the version is held, the folder was changed by hand, or a controller sets the weights there;
            `GatesRefuse` where gates do.
    """
    model, environment = wanted.model, read_environment(snapshot, wanted.environment)
    _ensure_only_application(snapshot, model, environment)
    ensure_ours(snapshot, commits, model, environment.name)
    before = read_release(snapshot, model, environment.name)
    after = advance(before, model, environment.name, wanted.to, wanted.weight)
    hold = holds(commits).get(wanted.to.version)
    override: tuple[Gate, ...] = ()
    if after != before:
        check_weight_allowed(environment, wanted.weight)
        _ensure_still_there(snapshot, wanted)
        _ensure_not_held(wanted, hold)
        override = ensure_open(environment, evidence(snapshot, environment, before, wanted), _reasoned(wanted))
    writes = rendered(snapshot, after)
    if not writes:
        return None
    body = "\n\n".join(part for part in (wanted.unhold, wanted.reason) if part)
    return Change(
        writes=writes, subject=_subject(after, wanted), body=body, trailers=_trailers(after, wanted, hold, override)
    )


def evidence(snapshot: Snapshot, environment: Environment, before: Release | None, wanted: Promotion) -> Evidence:
    """What the environment's gates look at for a promotion; `before` is what runs there at `snapshot`.

    Raises:
        NotFound: there is no such environment as a gate names.
        InvalidInput: the release file there cannot be right.
    """
    waits, known = environment.gates.healthy_in, wanted.known
    ran = soak(snapshot, wanted.model, waits.environment, wanted.to, known.at - waits.length) if waits else None
    return Evidence(
        model=wanted.model,
        environment=environment.name,
        to=wanted.to,
        weight=wanted.weight,
        before=before,
        requested_by=wanted.requested_by,
        way=wanted.way,
        known=known,
        soak=ran,
    )


def stable_in(tree: Tree, model: str, environment: str) -> Deployed:
    """The version that an environment would hand on to the next: its stable one, while no other is on trial.

    Raises:
        NotFound: there is no such environment, or no release of the model in it.
        Conflict: a canary is under way there.
    """
    read_environment(tree, environment)
    release = read_release(tree, model, environment)
    if release is None:
        raise NotFound(f"{environment} runs no version of {model}: `sluice status` shows what runs where.")
    if release.canary:
        raise Conflict(
            f"{model}@{release.canary.version} is the canary of {environment} at {release.canary.weight} %: finish it"
            f" there, or say which version is meant, as in {model}@{release.stable.version}."
        )
    return release.stable


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


def _ensure_still_there(snapshot: Snapshot, wanted: Promotion) -> None:
    if wanted.source is None:
        return
    stable = stable_in(snapshot, wanted.model, wanted.source)
    if stable.version != wanted.to.version:
        raise Conflict(
            f"{wanted.source} runs {wanted.model}@{stable.version} by now, and not version {wanted.to.version}: look at"
            f" `sluice history {wanted.model} --env {wanted.source}` and decide again."
        )


def _ensure_not_held(wanted: Promotion, hold: Hold | None) -> None:
    if hold is None or wanted.unhold:
        return
    where = wanted.environment
    what = f"is held in {where}" if hold.action == trailers.HOLD else f"was rolled back from {where} and is held"
    raise Refused(
        f"{wanted.model}@{wanted.to.version} {what}, by {hold.by} in {hold.commit[:12]}: fix what was wrong in a new"
        " version, or say why this one may come back with --unhold REASON."
    )


def _reasoned(wanted: Promotion) -> tuple[Gate, ...]:
    if wanted.override and not wanted.reason.strip():
        raise InvalidInput("An override needs a reason: say in a sentence why with --reason TEXT.")
    return wanted.override


def _ensure_only_application(tree: Tree, model: str, environment: Environment) -> None:
    """Refuse where one of the release's Applications, such as `<model>-<environment>`, is that of another release.

    Every other way to take the name apart is looked up, which is a few reads however many models there are.
    """
    for name in application_names(model, environment).values():
        for other, place in _named_so(name):
            if (other, place) == (model, environment.name) or not _is_released(tree, other, place):
                continue
            if name in application_names(other, read_environment(tree, place)).values():
                raise Conflict(
                    f"{model} in {environment.name} and {other} in {place} would both be the Argo CD Application"
                    f" {name}: give the model another name, or remove {release_dir(other, place)} first if it is"
                    " retired."
                )


def _named_so(name: str) -> Iterator[tuple[str, str]]:
    """The models and environments whose names may begin the name of an Application; a cluster's may follow."""
    hyphens = [at for at, letter in enumerate(name) if letter == "-"]
    for number, at in enumerate(hyphens):
        for end in (*hyphens[number + 1 :], len(name)):
            yield name[:at], name[at + 1 : end]


def _is_released(tree: Tree, model: str, environment: str) -> bool:
    try:
        return tree.read(release_file(model, environment)) is not None
    except InvalidInput:  # no names: too long, or an environment that starts with a digit
        return False


def _subject(after: Release, wanted: Promotion) -> str:
    what = f"{wanted.model}: {wanted.environment}"
    if after.canary:
        return f"{what} canary v{wanted.to.version} at {after.canary.weight} %"
    return f"{what} stable v{wanted.to.version}"


def _trailers(after: Release, wanted: Promotion, hold: Hold | None, override: Sequence[Gate]) -> dict[str, str]:
    version = str(wanted.to.version)
    said = {
        trailers.MODEL: wanted.model,
        trailers.VERSION: version,
        trailers.ENVIRONMENT: wanted.environment,
        trailers.ACTION: trailers.PROMOTE,
        trailers.CANARY_WEIGHT: str(after.canary.weight if after.canary else 0),
        trailers.IMAGE_DIGEST: wanted.to.model_image.rpartition("@")[2],
        trailers.REQUESTED_BY: wanted.requested_by,
        trailers.WORKFLOW: wanted.workflow,
        trailers.OVERRIDE: ", ".join(gate.value for gate in override),
        trailers.UNHOLD: version if hold and wanted.unhold else "",
    }
    return {key: value for key, value in said.items() if value}
