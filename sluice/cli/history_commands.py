"""Commands that show how releases came about, as the commits of the GitOps repository tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.common import AsJson, Gitops, add, wired
from sluice.cli.output import as_json, table

if TYPE_CHECKING:
    from gitops.history import ReleaseCommit
    from gitops.verify import Signature

_PANEL = "Git"
_EMPTY = "Nothing was released there yet."


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, history, "sluice history fraud --env prod")


def history(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="A model; by default all.")] = None,
    env: Annotated[str | None, typer.Option("--env", metavar="ENV", help="An environment; by default all.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many commits at most.")] = 20,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check signatures; exit 1 where one of Sluice's commits has no good one.")
    ] = False,
    allowed_signers: Annotated[
        Path | None,
        typer.Option("--allowed-signers", metavar="FILE", help="Whose ssh keys count; by default, git's setting."),
    ] = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Show how releases came about, newest first."""
    from gitops.history import history as read
    from registry.errors import InvalidInput, NotFound

    if allowed_signers and not verify:
        raise InvalidInput("--allowed-signers says whose signatures count: give it together with --verify.")
    with wired(gitops=gitops) as parts:
        found = read(parts.repository.head(), model, env, limit)
        if not found and (model or env):
            what = f"No version of {model}" if model else "Nothing"
            raise NotFound(f"{what} was ever released{f' to {env}' if env else ''}: `sluice status` shows what was.")
        if verify:
            _verified(found, parts.repository.signatures([commit.id for commit in found], allowed_signers), json)
            return
    if json:
        as_json(found)
        return
    table(("commit", "when", "what", "by"), map(_row, found), empty=_EMPTY)


def _verified(found: Sequence[ReleaseCommit], signatures: Mapping[str, Signature], json: bool) -> None:
    from gitops.verify import Verdict

    if json:
        as_json(
            [
                commit.model_dump(mode="json") | {"signature": signatures[commit.id].model_dump(mode="json")}
                for commit in found
            ]
        )
    else:
        rows = ((*_row(commit), *_signed(signatures[commit.id])) for commit in found)
        table(("commit", "when", "what", "by", "signature", "signer"), rows, empty=_EMPTY)
    if any(commit.by_sluice and signatures[commit.id].verdict is not Verdict.GOOD for commit in found):
        raise typer.Exit(1)


def _row(commit: ReleaseCommit) -> tuple[object, ...]:
    return commit.id[:12], commit.time, commit.subject, commit.requested_by or f"{commit.author} (by hand)"


def _signed(signature: Signature) -> tuple[str, str]:
    return signature.verdict.value, signature.signer or signature.key
