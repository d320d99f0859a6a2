"""Commands on versions: which there are, all that is known of one, where it comes from and where it went."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from registry.errors import InvalidInput
from sluice.cli.common import AsJson, Bucket, Gitops, Limit, ModelArgument, VersionArgument, add, pairs, resolved, wired
from sluice.cli.output import as_json, day, dumped, fields, line, size, table, who, width
from sluice.cli.output import pairs as shown_pairs

if TYPE_CHECKING:
    from registry.changes import Approval
    from registry.facts import Facts, Version
    from registry.lineage import Deployment, Lineage
    from registry.rows import Row

_PANEL = "Registry"
_FEW = 3
"""Metrics of a version that a list shows."""
_WIDE = 110
"""Columns of a terminal that has room for where versions come from."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, versions, "sluice versions fraud --limit 10")
    add(app, _PANEL, show, "sluice show fraud@champion --json")
    add(app, _PANEL, compare, "sluice compare fraud@champion fraud@latest")
    add(app, _PANEL, lineage, "sluice lineage --trained-on s3://data/fraud/2026-10")


def versions(
    model: ModelArgument,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Those with this tag.")] = None,
    limit: Limit = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that were deleted, too.")] = False,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """List a model's versions, newest first."""
    from registry.names import check_label

    with wired(bucket) as parts:
        rows = parts.registry.versions(check_label(model), deleted=deleted, tag=pairs(tag, "--tag"))
        found = list(islice(rows, limit))
    if json:
        as_json(found)
    else:
        _table(found, empty=f"No version of {model} fits." if tag else f"{model} has no versions.")


def show(ref: VersionArgument, bucket: Bucket = None, json: AsJson = False) -> None:
    """Show all that is known of a version."""
    with wired(bucket) as parts:
        registry = parts.registry
        version = registry.version(resolved(parts, ref))
        facts, approval = registry.facts(version.ref), registry.approval(version.ref)
        aliases = [alias.name for alias in registry.aliases(version.model) if alias.number == version.number]
    if json:
        more = {"state": facts.state, "approval": approval.value, "aliases": aliases, "facts": dumped(facts)}
        as_json({**dumped(version), **more})
    else:
        fields((*_registered(version, facts, approval, aliases), *_trained(version), *_known(facts)))


def compare(
    refs: Annotated[
        list[str],
        typer.Argument(metavar="MODEL@VERSION...", help="Two versions or more; the first is what others are held to."),
    ],
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Show versions side by side: metrics and what they gained, hyperparameters that differ, sizes."""
    from sluice.cli.comparing import show_comparison

    with wired(bucket) as parts:
        found = parts.registry.compare([resolved(parts, ref) for ref in refs])
    if json:
        as_json(found)
    else:
        show_comparison(found)


def lineage(
    ref: Annotated[str | None, typer.Argument(metavar="[MODEL@VERSION]", help="A version, such as fraud@7.")] = None,
    trained_on: Annotated[
        str | None,
        typer.Option("--trained-on", metavar="S3-PREFIX", help="The other way: versions trained on this data."),
    ] = None,
    commit: Annotated[
        str | None, typer.Option("--commit", metavar="SHA", help="The other way: what this release commit deployed.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="With --trained-on: versions of this model.")] = None,
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Show where a version comes from and where it went: job, data, code, artifact, image, release commits."""
    if sum(one is not None for one in (ref, trained_on, commit)) != 1:
        raise InvalidInput("One question at a time: give a MODEL@VERSION, --trained-on or --commit.")
    if model is not None and trained_on is None:
        raise InvalidInput("--model chooses among versions that were trained on some data: give it with --trained-on.")
    if trained_on is not None and not trained_on.startswith("s3://"):
        raise InvalidInput(f"{trained_on[:200]!r} is no place in S3: write it as s3://bucket/prefix.")
    with wired(bucket, gitops) as parts:
        if trained_on is not None:
            found = list(parts.registry.trained_on(trained_on, model=model))
        elif commit is not None:
            deployed = parts.registry.deployed_by(commit)
        else:
            told = parts.registry.lineage(resolved(parts, ref or ""))
    if trained_on is not None:
        as_json(found) if json else _table(found, empty=f"No version was trained on {trained_on}.")
    elif commit is not None:
        as_json(deployed) if json else _deployments(deployed)
    else:
        as_json(told) if json else _tell(told)


def _table(rows: Iterable[Row], *, empty: str) -> None:
    wide = (width() or _WIDE) >= _WIDE
    shown = (
        (
            row.ref,
            row.state,
            row.approval.value,
            day(row.created_at),
            *((row.name,) if wide else ()),
            shown_pairs(row.metrics, _FEW) or None,
        )
        for row in rows
    )
    columns = ("version", "state", "approval", "created", *(("from",) if wide else ()), "metrics")
    table(columns, shown, empty=empty, cut="metrics")


def _registered(
    version: Version, facts: Facts, approval: Approval, aliases: list[str]
) -> tuple[tuple[str, object], ...]:
    deleted, signed = facts.deleted, facts.sign_off
    return (
        ("version", version.ref),
        ("description", version.description),
        ("state", facts.state),
        ("deleted", deleted and f"{deleted.at:%Y-%m-%d %H:%M:%SZ} by {deleted.by}: {deleted.reason or 'no reason'}"),
        ("approval", approval.value),
        ("signed off", signed and f"{signed.at:%Y-%m-%d %H:%M:%SZ} by {signed.by}: {signed.note}"),
        ("aliases", ", ".join(aliases)),
        ("created", f"{version.created_at:%Y-%m-%d %H:%M:%SZ} by {version.created_by}"),
        ("metrics", shown_pairs(version.metrics)),
        ("tags", shown_pairs(version.tags)),
        ("git commit", version.git_commit),
        ("source", f"{version.source.uri}, {version.source.size} bytes ({version.source.kind.value})"),
    )


def _trained(version: Version) -> tuple[tuple[str, object], ...]:
    training, source = version.source.training, version.source
    shared = (("package", source.package), ("hyperparameters", shown_pairs(source.hyperparameters)))
    if training is None:
        return shared
    return (
        ("job", training.arn),
        ("trained", f"{training.instance_count} x {training.instance_type}, {training.image}"),
        ("role", training.role),
        ("submitted", training.submitted_at),
        ("ended", training.ended_at),
        ("billed", training.billable_seconds and f"{training.billable_seconds} s"),
        ("inputs", ", ".join(f"{channel.name}={channel.uri}" for channel in training.inputs)),
        ("job tags", shown_pairs(training.tags)),
        *shared,
    )


def _known(facts: Facts) -> tuple[tuple[str, object], ...]:
    scan, artifact, image, smoke = facts.scan, facts.artifact, facts.image, facts.smoke
    return (
        ("scan", scan and f"{scan.format.value} in {len(scan.files)} files, {scan.source}"),
        ("artifact", artifact and f"{artifact.type} of {artifact.size} bytes, {artifact.blob}"),
        ("image", image and f"{image.reference}, {size(image.size)}"),
        ("base", image and f"{image.runtime}, {image.base}"),
        ("smoke test", smoke and f"{'passed' if smoke.passed else 'failed'} {smoke.at:%Y-%m-%d}: {smoke.detail}"),
    )


def _tell(told: Lineage) -> None:
    fields(
        (
            ("version", f"{told.model}@{told.version}"),
            ("source", told.source.value),
            ("job", told.job),
            ("code", told.git_commit),
            ("trained in", told.training_image),
            ("trained on", ", ".join(f"{channel.name}={channel.uri}" for channel in told.inputs)),
            ("output", told.training_output),
            ("digest", told.output_digest),
            ("artifact", told.artifact),
            ("image", told.image),
            ("base", told.base),
        )
    )
    line("")
    _deployments(told.deployments)


def _deployments(found: Iterable[Deployment]) -> None:
    rows = (
        (
            one.commit[:12],
            day(one.at),
            one.environment,
            one.action,
            one.number and f"{one.model}@{one.number}",
            _share(one),
            who(one.by),
        )
        for one in found
    )
    columns = ("commit", "when", "environment", "what", "version", "share", "by")
    table(columns, rows, empty="No release commit is about it, as far as is known.")


def _share(one: Deployment) -> str | None:
    """What the version got of the traffic."""
    return f"{one.weight} %" if one.weight else None
