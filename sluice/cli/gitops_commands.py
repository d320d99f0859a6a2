"""Commands on the GitOps repository as a whole: make one, and keep what is rendered up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from registry.roles import Role
from sluice.cli.common import AsJson, Gitops, add, identity, progressing, wired
from sluice.cli.output import as_json, line

_PANEL = "Git"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, render, "sluice render --check")
    add(app, _PANEL, init, "sluice init https://git.example.com/models.git --env staging --env prod")


def render(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 where something is not as rendered.")
    ] = False,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Bring every release's manifests up to date with people's settings, a commit for each that is not."""
    if check:
        _check(gitops, json)
        return
    from gitops.layout import ENVIRONMENTS, MODELS
    from gitops.operations import render_in
    from gitops.rerender import is_rendered
    from gitops.state import all_releases
    from registry.errors import SluiceError

    changed, refused = [], []
    with wired(gitops=gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        head = parts.repository.head()
        head.prefetch([*head.paths(ENVIRONMENTS), *head.paths(MODELS)])
        releases = all_releases(head)
        for each in releases:
            try:
                if is_rendered(head, each):  # a look at the remote and at its history for each would take hours
                    continue
                outcome = render_in(
                    parts.repository, each.model, each.environment, parts.actor, identity(parts), progress
                )
                changed += [outcome] if outcome.commit else []
            except SluiceError as error:  # the others are rendered all the same
                refused.append(error)
    if json:
        as_json(changed)
    else:
        for outcome in changed:
            line(f"{outcome.commit} {outcome.subject}")
        line(f"{len(releases)} releases, {len(changed)} rendered again, {len(refused)} refused.")
    if refused:
        raise refused[0]


def init(
    remote: Annotated[
        str, typer.Argument(metavar="REMOTE", help="An empty repository's URL, or a folder to make one in.")
    ],
    env: Annotated[list[str], typer.Option("--env", metavar="ENV", help="An environment; give it once for each.")],
    url: Annotated[
        str | None, typer.Option("--url", help="Where Argo CD reads the repository, if not at REMOTE.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Make a GitOps repository: environments, what Argo CD needs, and a README for its people."""
    from gitops.bare import make_bare, url_of
    from gitops.operations import init_in
    from gitops.scaffold import scaffold

    with wired(gitops=remote) as parts, progressing() as progress:
        repository, read_at = parts.repository, url or url_of(remote)
        scaffold(env, repo_url=read_at, revision=repository.branch)  # what cannot be right leaves nothing behind
        make_bare(remote, repository.branch)
        commit = init_in(repository, env, read_at, identity(parts), progress)
        if read_at.startswith("file:"):
            progress.fact(f"Argo CD is told to read {read_at}: on a cluster it needs an address that it can reach.")
    if json:
        as_json({"commit": commit, "remote": remote})
    else:
        line(f"{commit} {remote} has {', '.join(env)}")


def _check(gitops: str | None, json: bool) -> None:
    from gitops.check import check, check_holds

    with wired(gitops=gitops) as parts:
        head = parts.repository.head()
        problems = [*check(head), *check_holds(head)]
    if json:
        as_json(problems)
    elif problems:
        line("\n".join(problem.message + (f"\n{problem.diff}" if problem.diff else "") for problem in problems))
    else:
        line("The repository holds just what it renders.")
    if problems:
        raise typer.Exit(1)
