"""Commands on aliases: names for versions, which move and remember where they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.errors import InvalidInput, NotFound
from registry.roles import Role
from sluice.cli import when
from sluice.cli.common import As, AsJson, Bucket, ModelArgument, VersionArgument, add, resolved, said, wired
from sluice.cli.output import as_json, day, dumped, line, table, who

if TYPE_CHECKING:
    from registry.changes import Alias, Move
    from registry.names import AliasRef

_PANEL = "Aliases and approval"
AliasArgument = Annotated[str, typer.Argument(metavar="MODEL@ALIAS", help="An alias, such as fraud@champion.")]
Expect = Annotated[
    int | None,
    typer.Option(
        "--expect", metavar="N", min=0, help="Only where it names this version now, 0 for none; nobody is overrun."
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the alias's history.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    alias = typer.Typer(help="Move an alias, remove it, and see where it was.", no_args_is_help=False)
    add(alias, "Commands", set_alias, "sluice alias set fraud@7 champion --expect 6", name="set")
    add(alias, "Commands", remove, "sluice alias remove fraud@challenger")
    add(alias, "Commands", history, "sluice alias history fraud@champion --at 2026-03-03")
    add(app, _PANEL, aliases, "sluice aliases fraud")
    app.add_typer(alias, name="alias", rich_help_panel=_PANEL, epilog="Example: sluice alias set fraud@7 champion")


def aliases(model: ModelArgument, bucket: Bucket = None, json: AsJson = False) -> None:
    """List a model's aliases."""
    from registry.names import check_label

    with wired(bucket) as parts:
        found = list(parts.registry.aliases(check_label(model)))
    if json:
        as_json([_now(alias) for alias in found])
        return
    rows = (
        (f"{model}@{one.name}", f"{model}@{one.number}", day(move.at), who(move.by), move.reason or None)
        for one in found
        for move in one.moves[-1:]
    )
    none = f"{model} has no aliases but {model}@latest: `sluice alias set` sets one."
    table(("alias", "version", "since", "by", "reason"), rows, empty=none, wrapped=("by",))


def set_alias(
    ref: VersionArgument,
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="The alias's name, such as champion.")],
    expect: Expect = None,
    reason: Reason = "",
    role: As = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Let an alias name a version, whatever it named before."""
    from registry.names import check_alias

    why = said(reason, "--reason")
    check_alias(name)
    with wired(bucket, role=role, needs=Role.RELEASER) as parts:
        target = resolved(parts, ref)
        moved = parts.registry.set_alias(
            target, name, actor=parts.actor, reason=why, expect=expect, role=parts.settings.role
        )
    if json:
        as_json(_now(moved))
    else:
        before = moved.moves[-1].previous
        line(f"{moved.model}@{name} names {target}" + (f", before {moved.model}@{before}." if before else "."))


def remove(
    alias: AliasArgument,
    expect: Expect = None,
    reason: Reason = "",
    role: As = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Let an alias name nothing; its history stays."""
    why, ref = said(reason, "--reason"), _parse(alias)
    with wired(bucket, role=role, needs=Role.RELEASER) as parts:
        moved = parts.registry.remove_alias(
            ref.model, ref.alias, actor=parts.actor, reason=why, expect=expect, role=parts.settings.role
        )
    if json:
        as_json(_now(moved))
    else:
        line(f"{ref} names nothing any more.")


def history(
    alias: AliasArgument,
    at: Annotated[
        str | None, typer.Option("--at", metavar="WHEN", help="Only what it named then: 2026-03-03, or a moment.")
    ] = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Show what an alias named, newest first. Days and moments without a zone are UTC."""
    ref, span = _parse(alias), when.span(at) if at is not None else None
    with wired(bucket) as parts:
        found: Iterable[Move] = parts.registry.alias_history(ref.model, ref.alias)
    if span is not None:
        found = list(_in_force(found, *span))
        if all(move.number is None for move in found):
            raise NotFound(f"{ref} named no version at {at}: `sluice alias history {ref}` shows when it did.")
    if json:
        as_json(list(found))
        return
    rows = (
        (move.at, f"{ref.model}@{move.number}" if move.number else None, who(move.by), move.reason or None)
        for move in found
    )
    table(("since", "version", "by", "reason"), rows, empty="", wrapped=("by",))


def _parse(text: str) -> AliasRef:
    from registry.names import LATEST, AliasRef, parse_reference

    ref = parse_reference(text) if "@" in text else None
    if not isinstance(ref, AliasRef):
        raise InvalidInput(f"{text[:80]!r} is no alias: write it as fraud@champion.")
    if ref.alias == LATEST:
        raise InvalidInput(f"{ref} always names the newest version, and nobody moves it: name another alias.")
    return ref


def _in_force(newest_first: Iterable[Move], begin: datetime, end: datetime) -> Iterator[Move]:
    """The moves that were made until `end`, back to the one that was in force at `begin`."""
    for move in newest_first:
        if move.at <= end:
            yield move
        if move.at <= begin:
            return


def _now(alias: Alias) -> dict[str, Any]:
    last = dumped(alias.moves[-1])
    del last["token"]
    return {"model": alias.model, "name": alias.name, **last}
