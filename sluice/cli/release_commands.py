"""Commands that make something of a version: the steps of a release, one by one and together."""

from __future__ import annotations

from typing import Annotated

import typer

from gitops.release import Runtime
from pipelines.image.compression import Compression
from registry.facts import Delivery
from registry.roles import Role
from sluice.cli.common import (
    AsJson,
    Bucket,
    Gitops,
    SourceArgument,
    VersionArgument,
    add,
    identity,
    progressing,
    resolved,
    wired,
)
from sluice.cli.output import as_json, line
from sluice.cli.releases import refresh_after

_PANEL = "Release"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, release, "sluice release fraud-2026-11-01 --model fraud")
    add(app, _PANEL, package, "sluice package fraud@7")
    add(app, _PANEL, build, "sluice build fraud@7")


def release(
    source: SourceArgument,
    model: Annotated[str, typer.Option("--model", help="The model it is a version of.")],
    env: Annotated[str | None, typer.Option("--env", help="The environment; by default the first one.")] = None,
    weight: Annotated[int, typer.Option("--weight", help="Percentage of the traffic there, 1 to 100.")] = 100,
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Take a source all the way: register, scan, package, build, and commit to the first environment.

    What was done already is not done again, so a release that broke off is finished by giving the command again.
    """
    from pipelines.steps.release import ReleaseInput
    from pipelines.steps.release import release as steps
    from registry.names import check_label

    with wired(bucket, gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        request = ReleaseInput(
            source=source,
            model=check_label(model),
            environment=check_label(env or parts.settings.first_environment, "environment"),
            weight=weight,
            actor=parts.actor,
            role=parts.settings.role,
            refuse=parts.settings.policy.refused,
            compression=parts.settings.compression,
            workflow=parts.settings.workflow,
        )
        result = steps(request, parts, identity(parts), progress)
        refresh_after(parts, result.outcome, progress)
    if json:
        as_json(result)
    else:
        line(str(result.ref))


def package(
    ref: VersionArgument,
    runtime: Annotated[
        Runtime | None, typer.Option("--runtime", help="The model server, over what model.yaml says.")
    ] = None,
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Make a version's training output the archive that its model server reads."""
    from pipelines.steps.package import PackageInput
    from pipelines.steps.package import package as step

    with wired(bucket, gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        version = resolved(parts, ref)
        wanted = PackageInput.of(version, parts.said_of(version.model), parts.settings.policy.refused)
        if runtime is not None:
            wanted = wanted.model_copy(update={"runtime": runtime})
        artifact = step(wanted, parts.outputs, parts.registry, parts.blobs, progress)
    if json:
        as_json(artifact)
    else:
        line(artifact.blob)


def build(
    ref: VersionArgument,
    compression: Annotated[
        Compression | None, typer.Option("--compression", help="Of the layers that are made, over the settings.")
    ] = None,
    delivery: Annotated[
        Delivery | None, typer.Option("--delivery", help="In one image with its server or alone, over model.yaml.")
    ] = None,
    bucket: Bucket = None,
    gitops: Gitops = None,
    json: AsJson = False,
) -> None:
    """Build the image of a packaged version, and push it."""
    from pipelines.image.builder import Builder
    from pipelines.steps.build import BuildInput
    from pipelines.steps.build import build as step

    with wired(bucket, gitops, needs=Role.RELEASER) as parts, progressing() as progress:
        version = resolved(parts, ref)
        wanted = BuildInput.of(version, parts.said_of(version.model), compression or parts.settings.compression)
        if delivery is not None:
            wanted = wanted.model_copy(update={"delivery": delivery})
        builder = Builder(parts.blobs, parts.recipes, parts.destination, progress)
        base = parts.base(version, parts.said_of(version.model), progress)
        image = step(wanted, parts.registry, builder, base, parts.destination, progress)
    if json:
        as_json(image)
    else:
        line(image.reference)
