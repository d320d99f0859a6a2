"""Commands that show what git wants to run beside what the clusters run, or wait until these are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.common import AsJson, EnvironmentOption, Gitops, ModelArgument, add, progressing, wired
from sluice.cli.output import as_json, line
from sluice.cli.releases import show_releases, show_standings, standing_json

if TYPE_CHECKING:
    from gitops.argocd.applications import Applications
    from gitops.argocd.truth import Answer
    from gitops.snapshot import Snapshot
    from sluice.wiring import Wiring

_PANEL = "Git"
_OUT_OF_TIME = 124
"""As timeout(1) ends."""
_CODES = {"Healthy": 0, "Degraded": 1, "Failed": 1, "Superseded": 5}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, status, "sluice status --json")
    add(app, _PANEL, wait, "sluice wait fraud --env prod --timeout 15m")


def status(gitops: Gitops = None, json: AsJson = False) -> None:
    """Show what git wants to run, each model in each environment, and how the clusters stand if Argo CD is set up."""
    with wired(gitops=gitops) as parts:
        applications = parts.applications
        if applications is None:
            _wanted(parts, json)
        else:
            _standing(parts, applications, json)


def wait(
    model: ModelArgument,
    env: EnvironmentOption,
    commit: Annotated[
        str | None, typer.Option("--commit", metavar="ID", help="What this commit wants; by default the newest.")
    ] = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="How long at most, such as 90s.")] = "15m",
    settle: Annotated[
        str, typer.Option("--settle", metavar="TIME", help="How long something bad may last, and pass.")
    ] = "2m",
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Wait until the clusters run what git wants of a model in an environment, by what Argo CD says of them.

    Exit codes: 0 healthy, 1 degraded or failed for as long as --settle, 5 superseded by a newer commit, 6 Argo CD or
    git unreachable for as long, 124 out of time.
    """
    from gitops.argocd.looking import Watched
    from gitops.argocd.waiting import Patience
    from gitops.argocd.waiting import wait as until
    from registry.names import check_label
    from sluice.cli.when import duration

    patience = Patience(duration(timeout).total_seconds(), duration(settle).total_seconds())
    with wired(gitops=gitops) as parts, progressing() as progress:
        applications = _applications(parts)
        model, env = check_label(model), check_label(env, "environment")
        watched = Watched(parts.repository, applications, model, env, commit)
        answer = until(watched.look, watched.refresh, progress.fact, patience)
    _say(answer, watched.asked.commit, f"{model} in {env}", json)
    raise typer.Exit(_CODES.get(answer.state.value, _OUT_OF_TIME))


def _wanted(parts: Wiring, json: bool) -> None:
    from gitops.state import all_releases

    head = parts.repository.head()
    _check(parts, head)
    found = all_releases(head)
    if json:
        as_json({"commit": head.id, "releases": [release.model_dump(mode="json") for release in found]})
    else:
        show_releases(found)


def _standing(parts: Wiring, applications: Applications, json: bool) -> None:
    from gitops.argocd.looking import standings

    head, found = standings(applications, parts.repository)
    _check(parts, head)
    if json:
        as_json({"commit": head.id, "releases": [standing_json(standing) for standing in found]})
    else:
        show_standings(found)


def _check(parts: Wiring, head: Snapshot) -> None:
    from gitops.layout import ENVIRONMENTS
    from registry.errors import NotFound

    if not head.paths(ENVIRONMENTS):
        raise NotFound(f"{parts.settings.gitops} has no environments: `sluice init` makes such a repository.")


def _applications(parts: Wiring) -> Applications:
    from registry.errors import InvalidInput

    if parts.applications is None:
        raise InvalidInput(
            "Nothing is set of Argo CD: give SLUICE_ARGOCD__URL and ARGOCD_AUTH_TOKEN, or `[argocd]` in sluice.toml."
        )
    return parts.applications


def _say(answer: Answer, commit: str, what: str, json: bool) -> None:
    if json:
        as_json({"commit": commit, **answer.model_dump(mode="json", exclude={"refresh"})})
    else:
        why = f": {answer.why}" if answer.why else ""
        line(f"{what} at {commit[:12]} is {answer.state}{why}.")
