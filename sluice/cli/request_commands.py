"""Commands about pull requests: which there are, and, for `sluice promote --pull-request`, how one is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from registry.errors import InvalidInput, NotFound
from sluice.cli.common import AsJson, Gitops, add, identity, wired
from sluice.cli.output import as_json, line, table

if TYPE_CHECKING:
    from gitops.forges import Forge, ForgeKind
    from gitops.promote import Promotion
    from gitops.requests import Listed, Metrics, Proposed
    from registry.progress import Progress
    from sluice.wiring import Wiring

_PANEL = "Git"
ForgeOption = Annotated[
    str | None,
    typer.Option(
        "--forge",
        metavar="KIND",
        help="Where a host of your own takes pull requests: github, gitlab or codecommit.",
        rich_help_panel="Settings",
    ),
]
ForgeApi = Annotated[
    str | None,
    typer.Option(
        "--forge-api",
        metavar="URL",
        help="Base URL of its API, where that is not the usual one.",
        rich_help_panel="Settings",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, requests, "sluice requests fraud --env prod")


def requests(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="A model; by default all.")] = None,
    env: Annotated[str | None, typer.Option("--env", metavar="ENV", help="An environment; by default all.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many requests at most.")] = 20,
    forge: ForgeOption = None,
    forge_api: ForgeApi = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Show the pull requests that Sluice opened, newest first, and what became of them: open, merged or closed."""
    from gitops.requests import requests_in
    from registry.names import check_label

    with wired(gitops=gitops) as parts:
        found = requests_in(
            forge_of(parts, forge, forge_api),
            check_label(model) if model else None,
            check_label(env, "environment") if env else None,
            limit,
        )
    if json:
        as_json(found)
        return
    columns = ("request", "state", "model", "environment", "asks for", "commit", "url")
    table(columns, map(_row, found), empty="No pull request was opened there yet: `sluice promote --pull-request`.")


def propose(
    parts: Wiring, wanted: Promotion, progress: Progress, forge: str | None = None, api: str | None = None
) -> Proposed:
    """Open a request for a promotion, or find the one that is open.

    Raises:
        SluiceError: see `gitops.requests.propose_in`.
    """
    from gitops.requests import propose_in

    place = forge_of(parts, forge, api)
    return propose_in(parts.repository, place, wanted, identity(parts), progress, _metrics(parts, wanted.model))


def say_proposed(found: Proposed, json: bool, *, unchanged: str) -> None:
    """Print which request there is now, or `unchanged` where there is nothing to ask for."""
    if json:
        as_json(found)
    elif found.request is None:
        line(unchanged)
    else:
        line(f"{found.request.url} {found.subject}")
        if found.superseded:
            line(f"Superseded: {', '.join(f'#{number}' for number in found.superseded)}")
        for branch in found.left:
            line(f"Left, as somebody added to it: {branch}")


def forge_of(parts: Wiring, forge: str | None, api: str | None) -> Forge:
    """The forge that the GitOps repository is at.

    Raises:
        InvalidInput: its address does not tell, or the library for it is not installed.
        Refused: there is no token for it.
    """
    from gitops.forges import ForgeSettings, locate, open_forge

    remote = parts.settings.gitops or parts.repository.remote  # which says that none is set
    said = ForgeSettings(kind=_kind(forge) or parts.settings.forge, api=api or parts.settings.forge_api)
    place = locate(remote, said)
    return open_forge(place, parts.settings.branch)


def _kind(forge: str | None) -> ForgeKind | None:
    from gitops.forges import ForgeKind

    if not forge:
        return None
    if forge not in set(ForgeKind):
        kinds = ", ".join(kind.value for kind in ForgeKind)
        raise InvalidInput(f"{forge[:80]!r} is not a forge that Sluice knows: give one of {kinds}.")
    return ForgeKind(forge)


def _metrics(parts: Wiring, model: str) -> Metrics:
    """The metrics that the registry has of the versions of one model."""
    from registry.names import VersionRef

    def of(number: int) -> Mapping[str, float]:
        try:
            return parts.registry.version(VersionRef(model=model, number=number)).metrics
        except NotFound:  # it was deleted since
            return {}

    return of


def _row(found: Listed) -> tuple[object, ...]:
    request = found.request
    commit = (request.merge_commit or request.commit)[:12]
    share = f"v{found.version} at {found.weight} %"
    return f"#{request.number}", request.state.value, found.model, found.environment, share, commit, request.url
