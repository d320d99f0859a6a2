"""Commands on models: which there are, what is said of one, and to change that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from registry.errors import InvalidInput
from registry.roles import Role
from sluice.cli.common import As, AsJson, Bucket, Gitops, Limit, ModelArgument, add, made, pairs, resolved, said, wired
from sluice.cli.output import as_json, day, dumped, fields, line, table, who
from sluice.cli.output import pairs as shown_pairs

if TYPE_CHECKING:
    from registry.registry import Registry

_PANEL = "Registry"
_Pairs = list[str] | None


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, models, "sluice models --search fraud --tag team=risk")
    add(app, _PANEL, model, "sluice model fraud --json")
    add(app, _PANEL, edit, "sluice edit fraud --owner risk@example.com --tag team=risk")
    add(app, _PANEL, delete, 'sluice delete fraud@7 --reason "trained on the wrong data" --role admin')


def models(
    search: Annotated[str, typer.Option("--search", metavar="TEXT", help="Those with this in their name.")] = "",
    tag: Annotated[_Pairs, typer.Option("--tag", metavar="NAME=VALUE", help="Those with this tag.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Those of this owner.")] = None,
    limit: Limit = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """List the models, the one with the newest version first."""
    from itertools import islice

    with wired(bucket) as parts:
        found = list(islice(parts.registry.models(search=search, tag=pairs(tag, "--tag"), owner=owner), limit))
    if json:
        as_json([{**dumped(one.model), "newest": one.newest, "updated_at": dumped(one)["updated_at"]} for one in found])
        return
    rows = (
        (
            one.model.name,
            f"{one.model.name}@{one.newest}" if one.newest else None,
            day(one.updated_at),
            who(one.model.owner) or None,
            one.model.description or None,
        )
        for one in found
    )
    none = "No model fits." if search or tag or owner else "There are no models yet: `sluice register` makes one."
    table(("model", "newest", "updated", "owner", "description"), rows, empty=none, wrapped=("owner",))


def model(name: ModelArgument, bucket: Bucket = None, json: AsJson = False) -> None:
    """Show what is known of a model."""
    from registry.names import check_label

    with wired(bucket) as parts:
        _show(parts.registry, check_label(name), json)


def edit(
    name: ModelArgument,
    description: Annotated[str | None, typer.Option("--description", help="What it is for.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Whom to ask about it.")] = None,
    tag: Annotated[_Pairs, typer.Option("--tag", metavar="NAME=VALUE", help="Set a tag.")] = None,
    untag: Annotated[_Pairs, typer.Option("--untag", metavar="NAME", help="Remove a tag.")] = None,
    link: Annotated[_Pairs, typer.Option("--link", metavar="NAME=URL", help="Set a link.")] = None,
    unlink: Annotated[_Pairs, typer.Option("--unlink", metavar="NAME", help="Remove a link.")] = None,
    protect: Annotated[
        _Pairs, typer.Option("--protect", metavar="ALIAS=ROLE", help="Let only this role move an alias; for admins.")
    ] = None,
    unprotect: Annotated[
        _Pairs, typer.Option("--unprotect", metavar="ALIAS", help="Let everyone move it again; for admins.")
    ] = None,
    role: As = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Change what is said of a model, and show it."""
    from registry.changes import ModelEdit
    from registry.names import check_label

    check_label(name)
    changes = made(
        ModelEdit,
        description=description,
        owner=owner,
        tags=_changes(tag, untag, "tag"),
        links=_changes(link, unlink, "link"),
        protected=_changes(protect, unprotect, "protect"),
    )
    if changes == ModelEdit():
        raise InvalidInput(f"Nothing is to be changed of {name}: give --description, --owner, --tag or another option.")
    with wired(bucket, role=role, needs=Role.RELEASER) as parts:
        parts.registry.edit_model(name, changes, actor=parts.actor, role=parts.settings.role)
        _show(parts.registry, name, json)


def delete(
    what: Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help="A version, or a model with all of them.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who look for it.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Delete a model and all its versions.")] = False,
    role: As = None,
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Delete a version, or a model; for admins. What a release or an alias names is refused.

    The number stays taken and the record readable; `sluice gc` removes the bytes.
    """
    from registry.names import check_label

    if "@" not in what and not yes:
        raise InvalidInput(f"That would delete {check_label(what)} and all its versions: give --yes if that is meant.")
    why = said(reason, "--reason")
    with wired(bucket, gitops, role, needs=Role.ADMIN) as parts:
        if "@" in what:
            ref = resolved(parts, what)
            deletion = dumped(parts.registry.delete(ref, actor=parts.actor, reason=why))
            name, deletion = str(ref), {"model": ref.model, "number": ref.number, **deletion}
        else:
            deletion = dumped(parts.registry.delete_model(check_label(what), actor=parts.actor, reason=why))
            name, deletion = what, {"model": what, **deletion}
    if json:
        as_json(deletion)
    else:
        line(f"{name} is deleted; `sluice gc` removes its bytes when they are old enough.")


def _show(registry: Registry, name: str, json: bool) -> None:
    found = registry.model(name)
    newest = next(registry.versions(name), None)
    aliases = {alias.name: alias.number for alias in registry.aliases(name)}
    if json:
        as_json({**dumped(found), "newest": newest and newest.number, "aliases": aliases})
        return
    fields(
        (
            ("model", found.name),
            ("description", found.description),
            ("owner", found.owner),
            ("newest", newest and newest.ref),
            ("aliases", shown_pairs(aliases)),
            ("protected", shown_pairs(found.protected)),
            ("tags", shown_pairs(found.tags)),
            ("links", shown_pairs(found.links)),
            ("created", f"{found.created_at:%Y-%m-%d %H:%M:%SZ} by {found.created_by}"),
            ("changed", found.changed_at and f"{found.changed_at:%Y-%m-%d %H:%M:%SZ} by {found.changed_by}"),
        )
    )


def _changes(put: Sequence[str] | None, take: Sequence[str] | None, option: str) -> Mapping[str, str | None]:
    changes: dict[str, str | None] = dict(pairs(put, f"--{option}"))
    for name in take or ():
        if name in changes:
            raise InvalidInput(f"{name[:80]!r} is in --{option} and in --un{option}: give one of them.")
        changes[name] = None
    return changes
