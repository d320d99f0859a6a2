"""What is true of a release in a cluster, as a pure function of what was read of git and of Argo CD.

The order in which it looks is the meaning of it. A commit that changed what is under ours comes first, because from
then on nothing that Argo CD says is about ours. After that: no operation is running; Argo CD looked again after the
operation ended; it looked at a commit that has ours in its history, with the same below our path; it has no error to
tell; what runs is what that commit says; it is healthy; and its pods run the very images that were released. What a
commit before ours came to is no verdict on ours: a rollback is not failed because what it takes back was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from gitops.argocd.application import Application, Pod, brief
from gitops.manifests import ROLE_LABEL, Role, deployed_as
from gitops.release import Deployed, Release

_VERSION_LABEL = "app.kubernetes.io/version"


class State(StrEnum):
    """How a release stands in a cluster, the worst first."""

    SUPERSEDED = "Superseded"
    """A newer commit changed what runs there: nobody can tell any more how this one would have done."""
    FAILED = "Failed"
    """Argo CD could not bring the cluster to it."""
    DEGRADED = "Degraded"
    """It is there, and something of it does not work."""
    UNKNOWN = "Unknown"
    """Nothing can be said of it."""
    PROGRESSING = "Progressing"
    """On its way."""
    HEALTHY = "Healthy"


class Answer(BaseModel):
    """How a release stands in a cluster, since when and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    why: str = ""
    since: datetime | None = None
    by: str | None = None
    """The commit that superseded it."""
    refresh: bool = False
    """Whether Argo CD has to look again before more can be said."""


class Reach(StrEnum):
    """How a commit that Argo CD looked at relates to the one that is asked about."""

    SAME = "same"
    """It has ours in its history, and nothing under our path differs."""
    BEFORE = "before"
    """It is from before ours, or from between ours and a newest one that is the same again."""
    FOREIGN = "foreign"
    """It is not in the history of the branch."""
    NONE = "none"
    """There is no such commit: Argo CD did not say any."""


class Seen(BaseModel):
    """All that was read about one release in one cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The Application's."""
    commit: str
    """The one that is asked about."""
    release: Release
    """What that commit wants."""
    superseded_by: str | None = None
    """The newest commit of the branch, where it wants something else."""
    application: Application | None
    reach: Reach = Reach.NONE
    """Of the revision that Argo CD looked at."""
    pods: Sequence[Pod] | None = None
    """None where they were not looked at."""


def truth(seen: Seen) -> Answer:
    """How the release stands; the first of the questions that is not answered well decides."""
    if seen.superseded_by is not None:
        return Answer(
            state=State.SUPERSEDED,
            why=f"commit {seen.superseded_by[:12]} changed what runs here after {seen.commit[:12]}",
            by=seen.superseded_by,
        )
    application = seen.application
    if application is None:
        return Answer(
            state=State.UNKNOWN,
            why=f"Argo CD has no Application {seen.name} yet: the ApplicationSet makes it within minutes",
        )
    return (
        _operation(application)
        or _reconciled(application)
        or _looked_at(seen, application)
        or _errors(application)
        or _synced(seen, application)
        or _health(application)
        or _images(seen, application)
        or Answer(state=State.HEALTHY, since=application.health.since or application.operation.finished_at)
    )


def worst(answers: Mapping[str, Answer]) -> Answer:
    """Of what is true in each of several clusters, the worst; which one that is begins the reason."""
    order = list(State)
    name, found = min(answers.items(), key=lambda pair: order.index(pair[1].state))
    if not name or found.state in (State.SUPERSEDED, State.HEALTHY):
        return found
    return found.model_copy(update={"why": f"{name}: {found.why}"})


def _operation(application: Application) -> Answer | None:
    operation = application.operation
    if application.pending:
        return Answer(state=State.PROGRESSING, why="a sync is about to begin", since=operation.finished_at)
    if operation.running:
        said = f": {brief(operation.message)}" if operation.message else ""
        return Answer(state=State.PROGRESSING, why=f"a sync is running{said}", since=operation.started_at)
    return None


def _reconciled(application: Application) -> Answer | None:
    finished, looked = application.operation.finished_at, application.reconciled_at
    if not application.whole or finished is None or (looked is not None and looked >= finished):
        return None
    return Answer(
        state=State.PROGRESSING, why="Argo CD has not looked again since the last sync", since=finished, refresh=True
    )


def _looked_at(seen: Seen, application: Application) -> Answer | None:
    if seen.reach in (Reach.SAME, Reach.NONE):
        return None
    revision = application.revision[:12]
    if seen.reach is Reach.FOREIGN:
        why = f"Argo CD follows commit {brief(revision)}, which the branch here does not have"
        return Answer(state=State.UNKNOWN, why=why, refresh=True)
    said = "".join(f"; it says: {brief(error.message)}" for error in application.errors[:1])
    why = f"Argo CD has last looked at commit {revision}, before {seen.commit[:12]}{said}"
    return Answer(state=State.PROGRESSING, why=why, since=application.reconciled_at, refresh=True)


def _errors(application: Application) -> Answer | None:
    if not application.errors:
        return None
    why = "; ".join(f"{error.type}: {brief(error.message)}" for error in application.errors[:3])
    return Answer(state=State.FAILED, why=why, since=application.operation.finished_at)


def _synced(seen: Seen, application: Application) -> Answer | None:
    operation = application.operation
    match application.sync.status:
        case "Synced" if seen.reach is Reach.SAME:
            return None
        case "OutOfSync" if operation.failed:
            return Answer(
                state=State.FAILED,
                why=f"the sync failed: {brief(operation.message) or operation.phase}",
                since=operation.finished_at,
            )
        case "OutOfSync":
            return Answer(state=State.PROGRESSING, why="the cluster differs from git, and a sync is due")
        case other:
            what = f"is {brief(other)}" if other and other != "Synced" else "says of no commit"
            return Answer(state=State.UNKNOWN, why=f"Argo CD {what} how the cluster compares with git", refresh=True)


def _health(application: Application) -> Answer | None:
    health = application.health
    said = f": {brief(health.message)}" if health.message else ""
    match health.status:
        case "Healthy":
            return None
        case "Progressing":
            return Answer(state=State.PROGRESSING, why=f"it is coming up{said}", since=health.since)
        case "Suspended":
            return Answer(state=State.PROGRESSING, why=f"it is paused{said}", since=health.since)
        case "Degraded" | "Missing" as status:
            return Answer(state=State.DEGRADED, why=f"its health is {status}{said}", since=health.since)
        case _:
            return Answer(state=State.UNKNOWN, why=f"Argo CD does not know its health{said}", since=health.since)


def _images(seen: Seen, application: Application) -> Answer | None:
    for role in Role:
        deployed = deployed_as(seen.release, role)
        if deployed is None:
            continue
        why = _of_pods(role, deployed, seen.pods) if seen.pods is not None else _of_images(deployed, application)
        if why:
            return Answer(state=State.PROGRESSING, why=why, since=application.operation.finished_at)
    return None


def _of_images(deployed: Deployed, application: Application) -> str:
    if deployed.image in application.images:
        return ""
    return f"no pod runs the image of v{deployed.version} yet"


def _of_pods(role: Role, deployed: Deployed, pods: Iterable[Pod]) -> str:
    """What is wrong with the pods of a role, or nothing. One without a label of its role may be of any."""
    here = [pod for pod in pods if not pod.gone and pod.labels.get(ROLE_LABEL, role) == role]
    if not any(_runs(pod, deployed) for pod in here):
        return f"no {role} pod runs the image of v{deployed.version} yet"
    if any(ROLE_LABEL in pod.labels and not _runs(pod, deployed) for pod in here):
        return f"a {role} pod still runs another image than that of v{deployed.version}"
    return ""


def _runs(pod: Pod, deployed: Deployed) -> bool:
    # The model itself may be mounted as a volume of its own, which Argo CD does not list among a pod's images. Which
    # version that is, the pod's label says.
    version = pod.labels.get(_VERSION_LABEL, str(deployed.version))
    return deployed.image in pod.images and version == str(deployed.version)
