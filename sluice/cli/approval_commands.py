"""Commands for those who decide on versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry.roles import Role
from sluice.cli.common import As, AsJson, Bucket, VersionArgument, add, resolved, said, wired
from sluice.cli.output import as_json, dumped, line, table, who

if TYPE_CHECKING:
    from registry.changes import Approval

_PANEL = "Aliases and approval"
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, approve, 'sluice approve fraud@7 --reason "better on every segment" --role approver')
    add(app, _PANEL, reject, 'sluice reject fraud@7 --reason "worse on new customers" --role approver')
    add(app, _PANEL, decisions, "sluice decisions fraud@7")
    add(app, _PANEL, sign_off, 'sluice sign-off fraud@7 --note "model risk board, 3 March" --role approver')


def approve(ref: VersionArgument, reason: Reason, role: As = None, bucket: Bucket = None, json: AsJson = False) -> None:
    """Approve a version; for approvers. The last decision counts."""
    from registry.changes import Approval

    _decide(ref, Approval.APPROVED, reason, role, bucket, json)


def reject(ref: VersionArgument, reason: Reason, role: As = None, bucket: Bucket = None, json: AsJson = False) -> None:
    """Reject a version; for approvers. The last decision counts."""
    from registry.changes import Approval

    _decide(ref, Approval.REJECTED, reason, role, bucket, json)


def decisions(ref: VersionArgument, bucket: Bucket = None, json: AsJson = False) -> None:
    """Show who decided what on a version, newest first."""
    with wired(bucket) as parts:
        target = resolved(parts, ref)
        found = parts.registry.decisions(target)
    if json:
        as_json(found)
        return
    rows = ((one.at, one.approval.value, who(one.by), one.reason or None) for one in found)
    none = f"Nobody has decided on {target} yet: `sluice approve` and `sluice reject` do."
    table(("when", "decision", "by", "reason"), rows, empty=none, wrapped=("by",))


def sign_off(
    ref: VersionArgument,
    note: Annotated[str, typer.Option("--note", help="For whom and on what grounds.")],
    role: As = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Vouch for a version, once and for good: for a board, an audit, a regulator; for approvers."""
    from registry.facts import SignOff

    why = said(note, "--note", needed=True)
    with wired(bucket, role=role, needs=Role.APPROVER) as parts:
        target = resolved(parts, ref)
        known = parts.registry.fact(target, SignOff)
        if known is None or (known.note, known.by) != (why, parts.actor):
            mine = SignOff(note=why, at=parts.registry.records.now(), by=parts.actor)
            known = parts.registry.record(target, mine, actor=parts.actor)
    if json:
        as_json({"model": target.model, "number": target.number, **dumped(known)})
    else:
        line(f"{target} is signed off by {known.by}.")


def _decide(ref: str, approval: Approval, reason: str, role: Role | None, bucket: str | None, json: bool) -> None:
    why = said(reason, "--reason", needed=True)
    with wired(bucket, role=role, needs=Role.APPROVER) as parts:
        target = resolved(parts, ref)
        decision = parts.registry.decide(target, approval, actor=parts.actor, reason=why)
    if json:
        as_json({"model": target.model, "number": target.number, **dumped(decision)})
    else:
        line(f"{target} is {approval.value}.")
