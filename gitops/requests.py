"""Pull-request mode: a promotion is proposed as one commit on a branch of its own, and people merge it.

The branch's name tells what is proposed: `sluice/<model>/<env>/v<version>-<weight>-<id>`. The id is a digest of the
change and of the release that it starts from, and it is the commit's Release-Id too. So asking twice for the same is
the same branch, and killed at any instant and run again it ends in one open request: a request that is open for that
branch is the one, and a branch without a request was left by a run that was killed, and is made anew.

Gates are asked when a request is opened, on the newest head, and not again when people merge it.

A newer request supersedes the older ones of the same model and environment: those are closed with a word on where the
new one is, and their branches are deleted, once the new one is open. A branch that somebody added to is left.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict

from gitops.diff import preview, unified
from gitops.forges.base import Draft, Forge, Request, State
from gitops.forges.describing import Check, File, Telling, compared, describe
from gitops.gates import Way, judge
from gitops.history import ReleaseCommit, history
from gitops.message import OVERRIDE, Identity
from gitops.promote import Promotion, evidence, promote
from gitops.state import read_environment, read_release
from gitops.tree import Change
from registry.errors import Conflict, Refused
from registry.progress import Progress

if TYPE_CHECKING:
    from gitops.repository import Repository
    from gitops.snapshot import Snapshot

Metrics = Callable[[int], Mapping[str, float]]
"""The metrics of a version of the model, by its number; nothing where there are none."""
_LABEL = r"[a-z](?:-?[a-z0-9])*"
_BRANCH = re.compile(rf"sluice/({_LABEL})/({_LABEL})/v([0-9]{{1,10}})-([0-9]{{1,3}})-([0-9a-f]{{12}})")
_SHORT = 12


class Proposed(BaseModel):
    """What asking for a release by a request came to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    environment: str
    subject: str
    """Of the commit that it asks to merge; empty where nothing would change."""
    request: Request | None
    """None where nothing would change."""
    superseded: tuple[int, ...] = ()
    """The numbers of the older requests that were closed for it."""
    left: tuple[str, ...] = ()
    """Branches of those that stay, as somebody added to them, or as the remote keeps them."""


class Listed(BaseModel):
    """A request of Sluice's, and what it asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    environment: str
    version: int
    weight: int
    request: Request


class _Plan(NamedTuple):
    """What is proposed at one commit of the main branch."""

    change: Change
    release_id: str
    branch: str
    telling: Telling


def propose_in(
    repository: Repository,
    forge: Forge,
    wanted: Promotion,
    author: Identity,
    progress: Progress,
    metrics: Metrics = lambda _: {},
) -> Proposed:
    """Open a request that gives a version its share of the traffic once it is merged, or find the one that is open.

    Gates are asked as for a commit, but the one that wants a pull request has it. `metrics` are those that the
    registry has of the version and of the stable one.

    Raises:
        Conflict: the release moved on meanwhile, or the forge does not take the request.
        SluiceError: whatever `gitops.promote.promote`, `Repository.propose` and `gitops.forges.base.Forge` raise.
    """
    wanted = wanted.model_copy(update={"way": Way.REQUEST})
    plan = _plan(repository.head(), repository.branch, wanted, metrics)
    if plan is None:
        return Proposed(model=wanted.model, environment=wanted.environment, subject="", request=None)
    before = _open(forge, wanted)
    request = _of(before, plan.branch)
    if request is not None:
        old = [one for one in before if one.number != request.number]
    else:
        _push(repository, wanted, plan, author, progress)
        request = _opened(forge, wanted, plan)
        # not those of somebody who asked later: theirs supersede this one
        seen = {one.number: one for one in [*before, *_open(forge, wanted)]}
        old = [one for _, one in sorted(seen.items()) if one.number < request.number]
    progress.fact(f"{forge.name} has request {request.number} for it: {request.url}")
    old = [one for one in old if forge.read(one.number).state is State.OPEN]  # one may have been merged just now
    left = [one.branch for one in old if not _supersede(repository, forge, request, one, progress)]
    return Proposed(
        model=wanted.model,
        environment=wanted.environment,
        subject=plan.change.subject,
        request=request,
        superseded=tuple(one.number for one in old),
        left=tuple(left),
    )


def requests_in(
    forge: Forge, model: str | None = None, environment: str | None = None, limit: int | None = None
) -> Sequence[Listed]:
    """Sluice's requests, newest first, whatever became of them: of a model, of an environment, of both, or all."""

    def matches(branch: str) -> bool:
        said = _BRANCH.fullmatch(branch)
        return said is not None and model in (None, said[1]) and environment in (None, said[2])

    return [_listed(request) for request in forge.find(matches, None, limit)]


def _listed(request: Request) -> Listed:
    said = _BRANCH.fullmatch(request.branch)
    model, environment, version, weight = said.groups()[:4] if said else ("", "", "0", "0")
    return Listed(model=model, environment=environment, version=int(version), weight=int(weight), request=request)


def _plan(snapshot: Snapshot, base: str, wanted: Promotion, metrics: Metrics) -> _Plan | None:
    commits = history(snapshot, wanted.model, wanted.environment)
    change = promote(snapshot, commits, wanted)
    if change is None:
        return None
    release_id = _release_id(commits, change, base)
    name = f"v{wanted.to.version}-{wanted.weight}-{release_id[:_SHORT]}"
    branch = f"sluice/{wanted.model}/{wanted.environment}/{name}"
    return _Plan(change, release_id, branch, _telling(snapshot, wanted, change, metrics))


def _release_id(commits: Sequence[ReleaseCommit], change: Change, base: str) -> str:
    """A digest of all that makes the change what it is, and of what it starts from."""
    writes = [(path, data.hex() if data is not None else None) for path, data in sorted(change.writes.items())]
    said = [
        base,
        commits[0].id if commits else "",
        change.subject,
        change.body,
        sorted(change.trailers.items()),
        writes,
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def _telling(snapshot: Snapshot, wanted: Promotion, change: Change, metrics: Metrics) -> Telling:
    shown = preview(snapshot, change, wanted.model, wanted.environment)
    release = read_release(snapshot, wanted.model, wanted.environment)
    stable = release.stable.version if release else None
    other = stable is not None and stable != wanted.to.version
    return Telling(
        words=shown.words,
        requested_by=wanted.requested_by,
        reason=" ".join(part for part in (wanted.unhold, wanted.reason) if part),
        stable=stable,
        proposed=wanted.to.version,
        metrics=compared(metrics(stable) if other and stable else {}, metrics(wanted.to.version)),
        checks=_checks(snapshot, wanted, change),
        files=[_file(snapshot, path, data) for path, data in sorted(change.writes.items())],
        diff=shown.diff,
    )


def _checks(snapshot: Snapshot, wanted: Promotion, change: Change) -> Sequence[Check]:
    environment = read_environment(snapshot, wanted.environment)
    before = read_release(snapshot, wanted.model, wanted.environment)
    over = change.trailers.get(OVERRIDE, "").split(", ")
    return [
        Check(one.gate.value, one.passed, f"{one.why}{'; passed over' if one.gate.value in over else ''}")
        for one in judge(environment, evidence(snapshot, environment, before, wanted))
    ]


def _file(snapshot: Snapshot, path: str, data: bytes | None) -> File:
    one = Change(writes={path: data}, subject="-")
    lines = unified(snapshot, one).split("\n")[2:]  # without the two that name the file
    added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    return File(path, added, removed)


def _open(forge: Forge, wanted: Promotion) -> Sequence[Request]:
    """The open requests of the same model and environment."""

    def matches(branch: str) -> bool:
        said = _BRANCH.fullmatch(branch)
        return said is not None and said.groups()[:2] == (wanted.model, wanted.environment)

    return forge.find(matches, State.OPEN)


def _of(requests: Sequence[Request], branch: str) -> Request | None:
    return next((one for one in requests if one.branch == branch), None)


def _push(repository: Repository, wanted: Promotion, plan: _Plan, author: Identity, progress: Progress) -> None:
    """Put the commit on its branch; one that is there without an open request gives way."""

    def intent(snapshot: Snapshot) -> Change:
        commits = history(snapshot, wanted.model, wanted.environment)
        change = promote(snapshot, commits, wanted)
        if change is None or _release_id(commits, change, repository.branch) != plan.release_id:
            raise Conflict(
                f"{wanted.model} moved on in {wanted.environment} while this was proposed: look at `sluice history"
                f" {wanted.model} --env {wanted.environment}` and ask again."
            )
        return change

    tip = repository.tip(plan.branch)
    if tip is not None:
        repository.delete_branch(plan.branch, tip)
    try:
        repository.propose(intent, author=author, branch=plan.branch, release_id=plan.release_id, progress=progress)
    except Conflict:
        # where somebody asks for the very same at this moment, their branch is as good
        if repository.tip(plan.branch) is None:
            raise


def _opened(forge: Forge, wanted: Promotion, plan: _Plan) -> Request:
    body = describe(plan.telling, forge.body_max, forge.folds)
    try:
        return forge.open(Draft(branch=plan.branch, title=plan.change.subject, body=body))
    except Conflict:
        # the answer to an earlier attempt was lost, or somebody asks for the very same at this moment
        found = _of(_open(forge, wanted), plan.branch)
        if found is None:
            raise
        return found


def _supersede(repository: Repository, forge: Forge, new: Request, old: Request, progress: Progress) -> bool:
    """Close an older request, and tell whether its branch is gone.

    The branch goes first: a run that is killed after that still finds the request, or the forge has closed it.
    """
    forge.comment(old.number, f"Superseded by {new.url}")
    try:
        repository.delete_branch(old.branch, old.commit)
        gone = True
    except (Conflict, Refused) as error:
        progress.fact(f"{old.branch} stays: {error}")
        gone = False
    forge.close(old.number)
    progress.fact(f"Request {old.number} is superseded")
    return gone
