"""Approval of versions: decisions, each written once, of which the last one counts."""

from __future__ import annotations

from registry import keys
from registry.changes import Approval, Decision, Event, EventKind
from registry.errors import Conflict
from registry.eventlog import telling
from registry.log import version
from registry.names import VersionRef
from registry.records import Records


def every(records: Records, ref: VersionRef) -> tuple[Decision, ...]:
    """The decisions on a version, newest first; a request each, and one to list them."""
    found = (records.read(key, Decision) for key in records.store.list(keys.decisions(ref)))
    return tuple(decision for decision in found if decision is not None)


def read(records: Records, key: str) -> Decision | None:
    """The decision under a key, or None."""
    return records.read(key, Decision)


def approval(records: Records, ref: VersionRef) -> Approval:
    """Where the version stands; two requests, one where nobody decided."""
    key = next(records.store.list(keys.decisions(ref), limit=1), None)
    last = None if key is None else records.read(key, Decision)
    return Approval.PENDING if last is None else last.approval


def decide(
    records: Records, ref: VersionRef, approval: Approval, *, actor: str, reason: str = "", token: str | None = None
) -> Decision:
    """Add a decision. Giving the same `token` again gives the same answer and decides nothing.

    Raises:
        NotFound: there is no such version.
        Conflict: the token was another decision's.
    """
    version(records, ref)
    fresh = token or records.token()
    while True:
        before = every(records, ref)
        there = next((decision for decision in before if decision.token == fresh), None)
        if there is not None:
            if (there.approval, there.by) != (approval, actor):
                raise Conflict(f"This request's key was used for another decision on {ref}: use a new one.")
            return there
        mine = Decision(
            sequence=len(before) + 1, approval=approval, reason=reason, at=records.now(), by=actor, token=fresh
        )
        if _write(records, ref, mine) == mine:
            return mine


def _write(records: Records, ref: VersionRef, decision: Decision) -> Decision:
    def event() -> Event:
        return Event(
            kind=EventKind.DECIDED,
            model=ref.model,
            number=ref.number,
            sequence=decision.sequence,
            at=records.now(),
            by=decision.by,
            token=decision.token,
        )

    return telling(records, event, lambda: records.create(keys.decision(ref, decision.sequence), decision))
