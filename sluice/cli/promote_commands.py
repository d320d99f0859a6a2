"""Commands that give a version its share of the traffic, or show what that would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry.roles import Role
from sluice.cli.common import AsJson, Bucket, Gitops, VersionArgument, add, identity, progressing, resolved, wired
from sluice.cli.output import as_json, line
from sluice.cli.releases import say_outcome

if TYPE_CHECKING:
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
    add(app, _PANEL, diff, "sluice diff fraud@7 --to prod --weight 10")


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
    say_outcome(outcome, json, unchanged=f"{ref} has {weight} % of {to} already: nothing to commit.")


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
