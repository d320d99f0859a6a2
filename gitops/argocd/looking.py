"""Looking at git and at Argo CD at the same time: at one release, or at all there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gitops.argocd.application import Application
from gitops.argocd.applications import Applications, application_names
from gitops.argocd.commits import Asked, asked, reach, same, superseded_by
from gitops.argocd.truth import Answer, Seen, State, truth
from gitops.config import Environment
from gitops.layout import environment_file, release_dir
from gitops.release import Release
from gitops.state import all_releases, read_environment

if TYPE_CHECKING:
    from gitops.repository import Repository
    from gitops.snapshot import Snapshot


class Standing(NamedTuple):
    """A release, and how it stands in each cluster of its environment, by name."""

    release: Release
    clusters: Mapping[str, Answer]


class Watched:
    """One release in every cluster of its environment."""

    def __init__(
        self,
        repository: Repository,
        applications: Applications,
        model: str,
        environment: str,
        commit: str | None = None,
    ) -> None:
        """Choose what is asked about: what `commit` wants, or the newest one.

        Raises:
            InvalidInput: `commit` is no commit's id, or a file cannot be right.
            NotFound: there is no such environment or commit, or nothing was released there.
        """
        head = repository.head()
        self.names = application_names(model, read_environment(head, environment))
        self.asked = asked(head, model, environment, commit)
        self._repository = repository
        self._applications = applications

    def refresh(self) -> None:
        """Ask Argo CD to look at the newest commit now.

        Raises:
            Refused: no access.
            Unavailable: it is not reached.
        """
        for name in self.names.values():
            self._applications.refresh(name)

    def look(self) -> Mapping[str, Answer]:
        """How the release stands in each cluster.

        Raises:
            Refused: no access.
            Unavailable: git or Argo CD is not reached.
        """
        found = {cluster: self._applications.read(name) for cluster, name in self.names.items()}
        head = self._repository.head()  # after that, so that it has every commit that Argo CD may have seen
        newer = superseded_by(head, self.asked)
        return {cluster: self._answer(head, newer, self.names[cluster], one) for cluster, one in found.items()}

    def _answer(self, head: Snapshot, newer: str | None, name: str, application: Application | None) -> Answer:
        seen = Seen(
            name=name,
            commit=self.asked.commit,
            release=self.asked.release,
            superseded_by=newer,
            application=application,
            reach=reach(head, self.asked, application.revision if application else ""),
        )
        if application is None:
            return truth(seen)
        # pods last: whichever there are, nothing follows from them while something before them is amiss
        but_for_pods = truth(seen.model_copy(update={"application": _with(application, self.asked)}))
        if but_for_pods.state is not State.HEALTHY:
            return but_for_pods
        pods = self._applications.pods(application, _labels(self.asked.release))
        return truth(seen.model_copy(update={"pods": None if pods is None else tuple(pods)}))


def standings(applications: Applications, repository: Repository) -> tuple[Snapshot, Sequence[Standing]]:
    """How every release stands, by one fetch and one list; and the commit that wants them.

    A second list, with all there is to know, is asked for where the first leaves a question.

    Raises:
        InvalidInput: a file cannot be right.
        Refused: no access.
        Unavailable: git or Argo CD is not reached.
    """
    found = applications.overview()
    head = repository.head()  # after that, so that it has every commit that Argo CD may have seen
    releases = all_releases(head)
    environments = _environments(head, releases)
    standing = [_standing(head, release, environments, found) for release in releases]
    if any(_open(one, environments, found) for one in standing):
        found = applications.every()
        standing = [_standing(head, release, environments, found) for release in releases]
    return head, standing


def _standing(
    head: Snapshot, release: Release, environments: Mapping[str, Environment], found: Mapping[str, Application]
) -> Standing:
    if release.environment not in environments:
        why = f"there is no {environment_file(release.environment)}, so that Argo CD has no Application for it"
        return Standing(release, {"": Answer(state=State.UNKNOWN, why=why)})
    tree = head.tree_id(release_dir(release.model, release.environment))
    answers = {}
    for cluster, name in application_names(release.model, environments[release.environment]).items():
        application = found.get(name)
        revision = application.revision if application else ""
        seen = Seen(
            name=name,
            commit=head.id or "",
            release=release,
            application=application,
            reach=same(head, release.model, release.environment, revision, tree),
        )
        answers[cluster] = truth(seen)
    return Standing(release, answers)


def _environments(head: Snapshot, releases: Sequence[Release]) -> Mapping[str, Environment]:
    """Those of the releases that have a file."""
    names = sorted({release.environment for release in releases})
    return {name: read_environment(head, name) for name in names if head.kind(environment_file(name)) == "blob"}


def _open(standing: Standing, environments: Mapping[str, Environment], found: Mapping[str, Application]) -> bool:
    """Whether more of an Application has to be read to know how its release stands."""
    release = standing.release
    if release.environment not in environments:
        return False
    for cluster, name in application_names(release.model, environments[release.environment]).items():
        answer = standing.clusters[cluster]
        if name in found and not found[name].whole and (answer.refresh or answer.state is State.UNKNOWN):
            return True
    return False


def _labels(release: Release) -> Mapping[str, str]:
    return {"sluicegate.dev/model": release.model, "sluicegate.dev/environment": release.environment}


def _with(application: Application, wanted: Asked) -> Application:
    """The same with the images of the release, to ask what would be true if its pods were right."""
    images = {deployed.image for deployed in wanted.release.shares}
    return application.model_copy(update={"images": frozenset(images)})
