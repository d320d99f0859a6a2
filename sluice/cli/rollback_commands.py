"""Commands that take a release back."""

from __future__ import annotations

from typing import Annotated

import typer

from registry.roles import Role
from sluice.cli.common import AsJson, Bucket, EnvironmentOption, Gitops, add, identity, progressing, resolved, wired
from sluice.cli.releases import say_outcome

_PANEL = "Git"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, rollback, 'sluice rollback fraud --env prod --reason "p99 doubled"')


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
    say_outcome(outcome, json, unchanged="It was taken back already: nothing to commit.")
