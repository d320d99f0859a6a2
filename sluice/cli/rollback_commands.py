"""Commands that take a release back, end a trial, and keep a version from coming back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry.roles import Role
from sluice.cli.common import (
    AsJson,
    Bucket,
    EnvironmentOption,
    Gitops,
    ModelArgument,
    VersionArgument,
    add,
    identity,
    progressing,
    resolved,
    said,
    wired,
)
from sluice.cli.output import as_json, table
from sluice.cli.releases import refresh_after, say_outcome

if TYPE_CHECKING:
    from gitops.holds import Holding
    from registry.names import VersionRef
    from sluice.wiring import Wiring

_PANEL = "Git"
Reason = Annotated[str, typer.Option("--reason", help="Why, for the commit's message.")]
WhyHeld = Annotated[str, typer.Option("--reason", help="Why, in a sentence; the commit's message says it.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, rollback, 'sluice rollback fraud --env prod --reason "p99 doubled"')
    add(app, _PANEL, abort, 'sluice abort fraud --env prod --reason "p99 doubled"')
    add(app, _PANEL, hold, 'sluice hold fraud@7 --env prod --reason "trained on the wrong week"')
    add(app, _PANEL, unhold, 'sluice unhold fraud@7 --env prod --reason "it was the node"')
    add(app, _PANEL, holds, "sluice holds fraud --env prod")


def rollback(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@VERSION]", help="A model; with a version, only where that is the newest.")
    ],
    env: EnvironmentOption,
    reason: Reason = "",
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="Take back so many of the newest commits instead.")
    ] = None,
    to_version: Annotated[
        int | None,
        typer.Option("--to-version", metavar="V", help="Take back all since version V was last stable instead."),
    ] = None,
    to_commit: Annotated[
        str | None, typer.Option("--to-commit", metavar="ID", help="Take back all since this commit instead.")
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Overwrite what people changed by hand in the folder since.")
    ] = False,
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Take back a model's newest release in an environment, all its steps, by one git revert, and hold the version."""
    from gitops.decide import Rollback, ensure_one_way
    from gitops.operations import roll_back_in

    with wired(bucket, gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        name, ref = _model(parts, model)
        wanted = Rollback(
            model=name,
            environment=_environment(env),
            version=ref.number if ref else None,
            steps=steps,
            to_version=to_version,
            to_commit=to_commit,
            restore=restore,
            requested_by=parts.actor,
            reason=said(reason, "--reason"),
            workflow=parts.settings.workflow,
        )
        ensure_one_way(wanted)
        outcome = roll_back_in(parts.repository, wanted, identity(parts), progress)
        refresh_after(parts, outcome, progress)
    say_outcome(outcome, json, unchanged="It was taken back already: nothing to commit.")


def abort(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@VERSION]", help="A model; with a version, only where that is the canary.")
    ],
    env: EnvironmentOption,
    reason: Reason = "",
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """End a canary's trial: the stable version takes all traffic, with the settings of now, and the canary is held."""
    from gitops.aborting import Abort
    from gitops.operations import abort_in

    with wired(bucket, gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        name, ref = _model(parts, model)
        wanted = Abort(
            model=name,
            environment=_environment(env),
            version=ref.number if ref else None,
            requested_by=parts.actor,
            reason=said(reason, "--reason"),
            workflow=parts.settings.workflow,
        )
        outcome = abort_in(parts.repository, wanted, identity(parts), progress)
        refresh_after(parts, outcome, progress)
    say_outcome(outcome, json, unchanged=f"{env} has no canary of {name}: nothing to commit.")


def hold(
    ref: VersionArgument,
    env: EnvironmentOption,
    reason: WhyHeld,
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Keep a version from being promoted in an environment; where it runs, it stays and gets no more traffic."""
    from gitops.operations import hold_in

    with wired(bucket, gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        outcome = hold_in(parts.repository, _holding(parts, ref, env, reason), identity(parts), progress)
    say_outcome(outcome, json, unchanged=f"{ref} is held in {env} already: nothing to commit.")


def unhold(
    ref: VersionArgument,
    env: EnvironmentOption,
    reason: WhyHeld,
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Let a version be promoted again that was rolled back, aborted or held."""
    from gitops.operations import unhold_in

    with wired(bucket, gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        outcome = unhold_in(parts.repository, _holding(parts, ref, env, reason), identity(parts), progress)
    say_outcome(outcome, json, unchanged=f"{ref} is not held in {env}: nothing to commit.")


def holds(model: ModelArgument, env: EnvironmentOption, gitops: Gitops = None, json: AsJson = False) -> None:
    """Show which versions of a model are held in an environment, since when, by whom and why."""
    from gitops.history import history
    from gitops.history import holds as read
    from gitops.state import read_environment
    from registry.names import check_label

    with wired(gitops=gitops) as parts:
        head = parts.repository.head()
        read_environment(head, _environment(env))
        found = sorted(read(history(head, check_label(model), env)).values(), key=lambda each: -each.version)
    if json:
        as_json(found)
        return
    rows = ((f"v{each.version}", each.action, each.since, each.by, each.reason) for each in found)
    table(("version", "by way of", "since", "by", "why"), rows, empty=f"No version of {model} is held in {env}.")


def _model(parts: Wiring, text: str) -> tuple[str, VersionRef | None]:
    """A model's name, and the version where one is given, too."""
    from registry.names import check_label

    if "@" not in text:
        return check_label(text), None
    ref = resolved(parts, text)
    return ref.model, ref


def _environment(name: str) -> str:
    from registry.names import check_label

    return check_label(name, "environment")


def _holding(parts: Wiring, text: str, env: str, reason: str) -> Holding:
    from gitops.holds import Holding

    ref = resolved(parts, text)
    return Holding(
        model=ref.model,
        environment=_environment(env),
        version=ref.number,
        requested_by=parts.actor,
        reason=said(reason, "--reason", needed=True),
        workflow=parts.settings.workflow,
    )
