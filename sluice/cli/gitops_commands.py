"""Commands on the GitOps repository: what runs, how it came about, and how to change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry.roles import Role
from sluice.cli.common import (
    AsJson,
    Bucket,
    EnvironmentOption,
    Gitops,
    VersionArgument,
    add,
    identity,
    progressing,
    resolved,
    wired,
)
from sluice.cli.output import as_json, line, table
from sluice.cli.releases import show_releases

if TYPE_CHECKING:
    from gitops.operations import Outcome
    from gitops.promote import Promotion
    from sluice.wiring import Wiring

_PANEL = "Git"
To = Annotated[str, typer.Option("--to", metavar="ENV", help="The environment, such as prod.")]
Weight = Annotated[int, typer.Option("--weight", metavar="PERCENT", help="Percentage of the traffic, 1 to 100.")]
Unhold = Annotated[
    str, typer.Option("--unhold", metavar="REASON", help="Let a version come back that was rolled back, and say why.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, promote, "sluice promote fraud@7 --to prod --weight 10")
    add(app, _PANEL, rollback, 'sluice rollback fraud --env prod --reason "p99 doubled"')
    add(app, _PANEL, status, "sluice status --json")
    add(app, _PANEL, history, "sluice history fraud --env prod")
    add(app, _PANEL, diff, "sluice diff fraud@7 --to prod --weight 10")
    add(app, _PANEL, render, "sluice render --check")
    add(app, _PANEL, init, "sluice init https://git.example.com/models.git --env staging --env prod")


def promote(
    ref: VersionArgument,
    to: To,
    weight: Weight,
    unhold: Unhold = "",
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Give a version a share of an environment's traffic: below 100 it is the canary, at 100 the stable version."""
    from gitops.operations import promote_in

    with wired(bucket, gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        outcome = promote_in(parts.repository, _promotion(parts, ref, to, weight, unhold), identity(parts), progress)
    _say(outcome, json, unchanged=f"{ref} has {weight} % of {to} already: nothing to commit.")


def rollback(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@VERSION]", help="A model; with a version, only where that is the newest.")
    ],
    env: EnvironmentOption,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the commit's message.")] = "",
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Take back a model's newest release in an environment, all its steps, by one git revert, and hold the version."""
    from gitops.operations import Rollback, roll_back_in
    from registry.names import check_label

    with wired(bucket, gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        ref = resolved(parts, model) if "@" in model else None
        wanted = Rollback(
            model=ref.model if ref else check_label(model),
            environment=check_label(env, "environment"),
            version=ref.number if ref else None,
            requested_by=parts.actor,
            reason=reason,
        )
        outcome = roll_back_in(parts.repository, wanted, identity(parts), progress)
    _say(outcome, json, unchanged="It was taken back already: nothing to commit.")


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


def diff(
    ref: VersionArgument,
    to: To,
    weight: Weight,
    unhold: Unhold = "",
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Show what `promote` with the same arguments would commit, and commit nothing."""
    from gitops.diff import unified
    from gitops.history import history as read
    from gitops.promote import promote as intent

    with wired(bucket, gitops) as parts:
        wanted = _promotion(parts, ref, to, weight, unhold)
        head = parts.repository.head()
        change = intent(head, read(head, wanted.model, wanted.environment), wanted)
        text = unified(head, change) if change else ""
    if json:
        as_json(
            {
                "subject": change.subject if change else "",
                "files": sorted(change.writes) if change else [],
                "diff": text,
            }
        )
        return
    line(f"{change.subject}\n\n{text}" if change else f"{ref} has {weight} % of {to} already: nothing would change.")


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
    from gitops.operations import render_in
    from gitops.state import all_releases
    from registry.errors import SluiceError

    outcomes, refused = [], []
    with wired(gitops=gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        for each in all_releases(parts.repository.head()):
            try:
                outcome = render_in(
                    parts.repository, each.model, each.environment, parts.actor, identity(parts), progress
                )
                outcomes.append(outcome)
            except SluiceError as error:  # the others are rendered all the same
                refused.append(error)
    changed = [outcome for outcome in outcomes if outcome.commit]
    if json:
        as_json(changed)
    else:
        for outcome in changed:
            line(f"{outcome.commit} {outcome.subject}")
        line(f"{len(outcomes) + len(refused)} releases, {len(changed)} rendered again, {len(refused)} refused.")
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


def _promotion(parts: Wiring, ref: str, to: str, weight: int, unhold: str) -> Promotion:
    from pipelines.steps.commit import CommitInput, promotion
    from registry.names import check_label

    request = CommitInput(
        ref=resolved(parts, ref),
        environment=check_label(to, "environment"),
        weight=weight,
        requested_by=parts.actor,
        unhold=unhold,
    )
    return promotion(request, parts.registry)


def _say(outcome: Outcome, json: bool, *, unchanged: str) -> None:
    if json:
        as_json(outcome)
    else:
        line(f"{outcome.commit} {outcome.subject}" if outcome.commit else unchanged)


def _check(gitops: str | None, json: bool) -> None:
    from gitops.check import check

    with wired(gitops=gitops) as parts:
        problems = check(parts.repository.head())
    if json:
        as_json(problems)
    elif problems:
        line("\n".join(problem.message + (f"\n{problem.diff}" if problem.diff else "") for problem in problems))
    else:
        line("The repository holds just what it renders.")
    if problems:
        raise typer.Exit(1)
