"""Commands that give a version its share of the traffic, or show what that would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry.errors import InvalidInput
from registry.roles import Role
from sluice.cli.common import As, AsJson, Bucket, Gitops, add, identity, progressing, resolved, said, wired
from sluice.cli.output import as_json, line
from sluice.cli.releases import refresh_after, say_outcome
from sluice.cli.request_commands import ForgeApi, ForgeOption, propose, say_proposed

if TYPE_CHECKING:
    from gitops.gates import Gate
    from pipelines.steps.commit import CommitInput
    from registry.names import VersionRef
    from sluice.wiring import Wiring

_PANEL = "Git"
Promoted = Annotated[
    str,
    typer.Argument(
        metavar="MODEL[@VERSION]",
        help="A version, such as fraud@7 or, by alias, fraud@champion; with --from the model alone.",
    ),
]
To = Annotated[str, typer.Option("--to", metavar="ENV", help="The environment, such as prod.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="ENV", help="Take the version that is stable in this environment, such as staging."),
]
Weight = Annotated[int, typer.Option("--weight", metavar="PERCENT", help="Percentage of the traffic, 1 to 100.")]
Unhold = Annotated[
    str, typer.Option("--unhold", metavar="REASON", help="Let a version come back that was rolled back, and say why.")
]
Override = Annotated[
    str, typer.Option("--override", metavar="GATE,…", help="Pass over these gates, which refuse; for admins.")
]
AsRequest = Annotated[
    bool, typer.Option("--pull-request", help="Open a pull request that people merge, in place of a commit.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the commit's message; needed to pass over gates.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, promote, "sluice promote fraud@7 --to prod --weight 10")
    add(app, _PANEL, diff, "sluice diff fraud --from staging --to prod --weight 10")


def promote(
    ref: Promoted,
    to: To,
    weight: Weight,
    source: From = None,
    unhold: Unhold = "",
    override: Override = "",
    reason: Reason = "",
    pull_request: AsRequest = False,
    forge: ForgeOption = None,
    forge_api: ForgeApi = None,
    role: As = None,
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Give a version a share of an environment's traffic: below 100 it is the canary, at 100 the stable version.

    Where gates of the environment refuse, it says which, and how to pass each.
    """
    from gitops.operations import promote_in
    from pipelines.steps.commit import promotion

    needs = Role.ADMIN if override else Role.RELEASER
    with wired(bucket, gitops, role, needs=needs) as parts, progressing() as progress:
        asked = _asked(parts, ref, to, weight, source, unhold, override, reason)
        wanted, already = promotion(asked, parts.registry), f"{asked.ref} has {weight} % of {to} already"
        if pull_request:
            proposed = propose(parts, wanted, progress, forge, forge_api)
        else:
            outcome = promote_in(parts.repository, wanted, identity(parts), progress)
            refresh_after(parts, outcome, progress)
    if pull_request:
        say_proposed(proposed, json, unchanged=f"{already}: nothing to ask for.")
    else:
        say_outcome(outcome, json, unchanged=f"{already}: nothing to commit.")


def diff(
    ref: Promoted,
    to: To,
    weight: Weight,
    source: From = None,
    unhold: Unhold = "",
    override: Override = "",
    reason: Reason = "",
    pull_request: AsRequest = False,
    role: As = None,
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Show in words and as YAML what `promote` with the same arguments would commit, and commit nothing."""
    from gitops.diff import preview
    from gitops.gates import Way
    from gitops.history import history as read
    from gitops.promote import promote as intent
    from pipelines.steps.commit import promotion

    with wired(bucket, gitops, role) as parts:
        asked = _asked(parts, ref, to, weight, source, unhold, override, reason)
        wanted = promotion(asked, parts.registry)
        if pull_request:
            wanted = wanted.model_copy(update={"way": Way.REQUEST})
        head = parts.repository.head()
        change = intent(head, read(head, wanted.model, wanted.environment), wanted)
        found = preview(head, change, wanted.model, wanted.environment) if change else None
    if json:
        as_json(found or {"words": "", "subject": "", "files": [], "diff": ""})
    else:
        line(found.text if found else f"{asked.ref} has {weight} % of {to} already: nothing would change.")


def _asked(
    parts: Wiring, ref: str, to: str, weight: int, source: str | None, unhold: str, override: str, reason: str
) -> CommitInput:
    from pipelines.steps.commit import CommitInput
    from registry.names import check_label

    environment = check_label(to, "environment")
    return CommitInput(
        ref=_version(parts, ref, source, environment),
        environment=environment,
        weight=weight,
        requested_by=parts.actor,
        workflow=parts.settings.workflow,
        role=parts.settings.role,
        unhold=said(unhold, "--unhold"),
        source=source,
        override=_gates(override),
        reason=said(reason, "--reason", needed=bool(override)),
    )


def _version(parts: Wiring, ref: str, source: str | None, to: str) -> VersionRef:
    """The version that is meant: the one that was named, or the one that is stable in `source`."""
    from gitops.promote import stable_in
    from registry.names import VersionRef, check_label

    if source is None:
        return resolved(parts, ref)
    if "@" in ref:
        raise InvalidInput(f"{ref[:80]} is a version, and --from would choose another: leave one of the two out.")
    if check_label(source, "environment") == to:
        raise InvalidInput(f"--from and --to are both {to}: name the environment to take the version from.")
    model = check_label(ref)
    stable = stable_in(parts.repository.head(), model, source)
    return VersionRef(model=model, number=stable.version)


def _gates(text: str) -> tuple[Gate, ...]:
    from gitops.gates import Gate

    names = [name.strip() for name in text.split(",")] if text else []
    unknown = next((name for name in names if name not in set(Gate)), None)
    if unknown is not None:
        raise InvalidInput(f"{unknown[:80]!r} is not a gate: write them as {','.join(gate.value for gate in Gate)}.")
    return tuple(dict.fromkeys(Gate(name) for name in names))
