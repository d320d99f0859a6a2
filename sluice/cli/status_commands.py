"""Commands that show what git wants to run, and how that came about."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.cli.common import AsJson, Gitops, add, wired
from sluice.cli.output import as_json, table
from sluice.cli.releases import show_releases

_PANEL = "Git"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, status, "sluice status --json")
    add(app, _PANEL, history, "sluice history fraud --env prod")


def status(gitops: Gitops = None, json: AsJson = False) -> None:
    """Show what git wants to run: each model in each environment."""
    from gitops.layout import ENVIRONMENTS
    from gitops.state import all_releases
    from registry.errors import NotFound

    with wired(gitops=gitops) as parts:
        head = parts.repository.head()
        if not head.paths(ENVIRONMENTS):
            raise NotFound(f"{parts.settings.gitops} has no environments: `sluice init` makes such a repository.")
        found = all_releases(head)
    if json:
        as_json({"commit": head.id, "releases": [release.model_dump(mode="json") for release in found]})
        return
    show_releases(found)


def history(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="A model; by default all.")] = None,
    env: Annotated[str | None, typer.Option("--env", metavar="ENV", help="An environment; by default all.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many commits at most.")] = 20,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Show how releases came about, newest first."""
    from gitops.history import history as read
    from registry.errors import NotFound

    with wired(gitops=gitops) as parts:
        found = read(parts.repository.head(), model, env, limit)
    if not found and (model or env):
        what = f"No version of {model}" if model else "Nothing"
        raise NotFound(f"{what} was ever released{f' to {env}' if env else ''}: `sluice status` shows what was.")
    if json:
        as_json(found)
        return
    rows = (
        (commit.id[:12], commit.time, commit.subject, commit.requested_by or f"{commit.author} (by hand)")
        for commit in found
    )
    table(("commit", "when", "what", "by"), rows, empty="Nothing was released there yet.")
