"""Holding a version, and letting it come back: a commit that says so in its trailers, which alone count.

A commit has to change something, and must not change the release folder, which a rollback restores as a whole. So
each writes a line for people into `models/<model>/holds-<env>.yaml`: who held or let go what, when and why. It is a
record of what people said, not the list of what is held, which could not be kept right: a person's plain `git revert`
of a promotion holds its version too, and a rollback is byte for byte what such a revert makes. That list is
`gitops.history.holds`. The file is one for each environment, so that reverting a commit of one never runs into another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from gitops import message as trailers
from gitops.history import ReleaseCommit, held, in_force
from gitops.layout import HOLDS, MODELS, holds_file, model_file
from gitops.rollback import changed
from gitops.state import read_environment
from gitops.tree import Change, Tree
from gitops.yamls import dump, read_as
from registry.errors import InvalidInput, NotFound
from registry.names import EnvironmentName, ModelName, VersionNumber

if TYPE_CHECKING:
    from gitops.snapshot import Snapshot

KEPT = 50
"""How many of the newest lines the file has; the rest is in git's history."""


class Holding(BaseModel):
    """Which version is to be held or to be let go, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    environment: EnvironmentName
    version: VersionNumber
    requested_by: str
    reason: str
    workflow: str = ""
    """The Argo workflow that asks, by name, where one does."""


class Said(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["hold", "unhold"]
    version: VersionNumber
    by: str
    at: datetime
    reason: str


class Record(BaseModel):
    """models/<model>/holds-<env>.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    environment: EnvironmentName
    said: tuple[Said, ...]
    """Newest last."""


def hold(snapshot: Snapshot, commits: Sequence[ReleaseCommit], wanted: Holding, now: datetime) -> Change | None:
    """The change that holds the version, or None where it is held already.

    `commits` is the release's whole history at `snapshot`, newest first. A version may be held before it was ever
    released there, and while it runs: then it stays, and gets no more of the traffic.

    Raises:
        NotFound: there is no such environment, or no such model in the repository.
        InvalidInput: no reason was given.
        Refused: the file was changed by hand.
    """
    _ensure_known(snapshot, wanted)
    return None if wanted.version in held(commits) else _change(snapshot, commits, wanted, trailers.HOLD, now)


def lift(snapshot: Snapshot, commits: Sequence[ReleaseCommit], wanted: Holding, now: datetime) -> Change | None:
    """The change that lets a held version come back, or None where it is not held.

    Raises:
        NotFound: there is no such environment, or no such model in the repository.
        InvalidInput: no reason was given.
        Refused: the file was changed by hand.
    """
    _ensure_known(snapshot, wanted)
    return _change(snapshot, commits, wanted, trailers.LIFT, now) if wanted.version in held(commits) else None


def parse_record(data: bytes, path: str) -> Record:
    """A record from the bytes of its file.

    Raises:
        InvalidInput: one sentence with the file, the field and what is wrong with it.
    """
    record = read_as(Record, data, path)
    if path != holds_file(record.model, record.environment):
        raise InvalidInput(
            f"{path}: it is of {record.model} in {record.environment}, move it to"
            f" {holds_file(record.model, record.environment)} or correct it."
        )
    return record


def records(tree: Tree) -> Iterator[tuple[str, str, str]]:
    """Path, model and environment of every file of holds, as their names say."""
    for path in tree.paths(MODELS):
        parts = path.split("/")
        if len(parts) == 3 and parts[2].startswith(HOLDS) and parts[2].endswith(".yaml"):
            yield path, parts[1], parts[2].removeprefix(HOLDS).removesuffix(".yaml")


def ensure_agrees(snapshot: Snapshot, commits: Sequence[ReleaseCommit], model: str, environment: str) -> Record:
    """The record as it is in the file, which has to be what the history says.

    Raises:
        ChangedByHand: it is not; the sentence names the commit and its author.
    """
    path = holds_file(model, environment)
    empty = Record(model=model, environment=environment, said=())
    data = snapshot.read(path)
    ours = [one for one in commits if _says(one)]
    try:
        record = empty if data is None else parse_record(data, path)
    except InvalidInput:
        record = None
    # a person's revert may leave lines that no commit of ours left together, and only comments tell of other edits
    known = record and (data in (None, _yaml(record)) or any(snapshot.at(one.id).read(path) == data for one in ours))
    decisions = [one for one in in_force(commits) if _says(one)][:KEPT]
    wanted = [(one.action, one.version, one.requested_by, one.body) for one in reversed(decisions)]
    if not record or not known or wanted != [(one.action, one.version, one.by, one.reason) for one in record.said]:
        raise changed(snapshot, commits, snapshot.at(ours[0].id) if ours else snapshot.before(), path)
    return record


def _says(commit: ReleaseCommit) -> bool:
    return commit.by_sluice and commit.action in (trailers.HOLD, trailers.LIFT)


def _ensure_known(snapshot: Snapshot, wanted: Holding) -> None:
    read_environment(snapshot, wanted.environment)
    if snapshot.read(model_file(wanted.model)) is None:
        raise NotFound(f"There is no model {wanted.model} here: `sluice status` shows what is released.")


def _change(
    snapshot: Snapshot, commits: Sequence[ReleaseCommit], wanted: Holding, action: str, now: datetime
) -> Change:
    model, environment, version = wanted.model, wanted.environment, wanted.version
    reason = " ".join(wanted.reason.split())
    if not reason:
        raise InvalidInput("The reason is empty: say in a sentence why.")
    record = ensure_agrees(snapshot, commits, model, environment)
    said = Said.model_validate(
        {"action": action, "version": version, "by": wanted.requested_by.strip(), "at": now, "reason": reason}
    )
    about = {
        trailers.MODEL: model,
        trailers.VERSION: str(version),
        trailers.ENVIRONMENT: environment,
        trailers.ACTION: action,
        trailers.REQUESTED_BY: wanted.requested_by,
        trailers.HOLDS if action == trailers.HOLD else trailers.UNHOLD: str(version),
    }
    if wanted.workflow:
        about[trailers.WORKFLOW] = wanted.workflow
    newer = record.model_copy(update={"said": (*record.said, said)[-KEPT:]})
    verb = "holds" if action == trailers.HOLD else "lets go"
    return Change(
        writes={holds_file(model, environment): _yaml(newer)},
        subject=f"{model}: {environment} {verb} v{version}",
        body=reason,
        trailers=about,
    )


def _yaml(record: Record) -> bytes:
    header = (
        "Written by Sluice, for people: who held a version here or let it come back, newest last.\n"
        "An edit changes nothing: what is held follows from git's history, where rollbacks hold versions too.\n"
        f"`sluice holds {record.model} --env {record.environment}` shows what is held now."
    )
    return dump(record.model_dump(mode="json"), header)
