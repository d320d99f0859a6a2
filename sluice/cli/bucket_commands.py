"""Commands on the bucket as a whole: whether its bytes are good, what may go, what happened, moving in and out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.supply.layers import Layers
from registry.errors import InvalidInput, NotFound, Refused
from registry.roles import Role
from sluice.cli import when
from sluice.cli.common import As, AsJson, Bucket, Limit, add, progressing, resolved, wired
from sluice.cli.output import as_json, as_json_line, dumped, fields, line, size, table, text

if TYPE_CHECKING:
    from registry.changes import Event
    from registry.names import VersionRef
    from registry.progress import Progress
    from registry.verify import Verification
    from sluice.wiring import Wiring

_PANEL = "Bucket"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, verify, "sluice verify fraud@champion")
    add(app, _PANEL, gc, "sluice gc --dry-run --role admin")
    add(app, _PANEL, events, "sluice events --follow --json")
    add(app, _PANEL, rebuild, "sluice rebuild fraud")


def verify(
    what: Annotated[
        str | None, typer.Argument(metavar="[MODEL[@VERSION]]", help="A version, or all versions of a model.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All versions of all models.")] = False,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="MODEL@VERSION", help="With --all: go on after this one, where it broke off."),
    ] = None,
    image: Annotated[
        bool, typer.Option("--image", help="The version's image instead: its bytes, labels, SBOM, signatures.")
    ] = False,
    layers: Annotated[Layers, typer.Option("--layers", help="With --image: what to do with its layers.")] = Layers.READ,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Read the bytes of versions and compare their sha256 with what is recorded; exit 4 where some are not good."""
    if image:
        _verify_image(what, layers, bucket, alone=not everything and after is None, json=json)
        return
    if (what is None) != everything:
        raise InvalidInput("Name what is to be read: MODEL@VERSION, MODEL, or --all, which is one of them.")
    if after is not None and not everything:
        raise InvalidInput("--after goes on with all versions of all models: give it with --all.")
    found: list[Verification] = []
    with wired(bucket) as parts, progressing() as progress:
        for one in _verified(parts, what, after, progress):
            found.append(one)
            progress.fact(f"{one.ref}: " + (", ".join(f"{c.what} {c.verdict.value}" for c in one.checks) or "no bytes"))
    if json:
        as_json([dumped(one) for one in found])
    else:
        _show(found)
    bad = [one for one in found if not one.good]
    if bad:
        more = f", {bad[0].ref} among them" if len(bad) > 1 else f": {bad[0].ref}"
        raise Refused(f"{len(bad)} of {len(found)} versions are damaged or incomplete{more}.")


def _verify_image(what: str | None, layers: Layers, bucket: str | None, *, alone: bool, json: bool) -> None:
    from sluice.cli.image_commands import show_verified

    if what is None or "@" not in what or not alone:
        raise InvalidInput("--image looks at one version's image: give it with MODEL@VERSION and nothing else.")
    show_verified(what, layers, bucket, json=json)


def _verified(parts: Wiring, what: str | None, after: str | None, progress: Progress) -> Iterator[Verification]:
    from registry.names import VersionRef, check_label

    registry = parts.registry
    if what is None:
        yield from registry.verify_all(after=VersionRef.parse(after) if after else None, progress=progress)
    elif "@" not in what:
        for row in registry.versions(check_label(what)):
            yield registry.verify(row.ref, progress)
    else:
        ref = resolved(parts, what)
        _check_live(parts, ref)
        yield registry.verify(ref, progress)


def _check_live(parts: Wiring, ref: VersionRef) -> None:
    if parts.registry.facts(ref).deleted:
        raise NotFound(f"{ref} was deleted, and its bytes may be gone: name another version.")


def _show(found: list[Verification]) -> None:
    rows = (
        (one.ref, check.what, check.verdict.value, size(check.size), check.found)
        for one in found
        for check in one.checks
    )
    table(("version", "what", "verdict", "read", "sha256"), rows, empty="There are no bytes to read.")


def gc(
    grace: Annotated[
        str, typer.Option("--grace", metavar="WHILE", help="Spare what is younger: an hour or more, as 24h or 7d.")
    ] = "24h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; show what would be.")] = False,
    role: As = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Remove the bytes that no version names and that are old enough; for admins."""
    young = when.duration(grace)
    with wired(bucket, role=role, needs=Role.VIEWER if dry_run else Role.ADMIN) as parts, progressing() as progress:
        found = parts.registry.collect(actor=parts.actor, grace=young, dry_run=dry_run, progress=progress)
    if json:
        as_json(found)
        return
    gone = "would be removed" if dry_run else "removed"
    fields(
        (
            ("named", f"{found.named} objects of {size(found.named_size)}"),
            ("young", f"{found.young} objects that nobody names yet"),
            (gone, f"{found.removed} objects of {size(found.removed_size)}"),
        )
    )


def events(
    after: Annotated[
        str, typer.Option("--after", metavar="CURSOR", help="What came after: a cursor from --json; by default all.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Go on, and show what happens as it happens.")] = False,
    limit: Limit = None,
    bucket: Bucket = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")] = False,
) -> None:
    """Show what happened in the registry, oldest first: registrations, facts, aliases, decisions."""
    with wired(bucket) as parts:
        registry = parts.registry
        told = registry.follow(after) if follow else registry.follow(after, wait=lambda: False)
        for one in islice(told, limit):
            if json:
                as_json_line({"id": one.id, "cursor": one.cursor, **dumped(one.event)})
            else:
                _tell(one.event)


def _tell(event: Event) -> None:
    import sys

    about = f"{event.model}@{event.number}" if event.number else event.model
    more = event.fact or event.alias
    line(f"{text(event.at)}  {event.kind.value:<10}  {about}{f' {more}' if more else ''} by {event.by}")
    sys.stdout.flush()


def rebuild(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="A model; by default all.")] = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Make the lists anew from the records, where somebody changed the bucket by other means."""
    from registry.names import check_label

    with wired(bucket, needs=Role.RELEASER) as parts:
        if model is not None:
            parts.registry.model(check_label(model))
        parts.registry.rebuild(model)
    if json:
        as_json({"model": model})
    else:
        line(f"The lists of {model or 'all models'} are made anew.")
