"""Commands that look at the registry, and the one that adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from sluice.cli.common import AsJson, Bucket, ModelArgument, VersionArgument, add, progressing, wired
from sluice.cli.output import as_json, fields, line, table

_PANEL = "Registry"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, register, "sluice register fraud-2026-11-01 --model fraud")
    add(app, _PANEL, models, "sluice models --json")
    add(app, _PANEL, versions, "sluice versions fraud")
    add(app, _PANEL, show, "sluice show fraud@7 --json")


def register(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A finished training job: its name or ARN.")],
    model: Annotated[str, typer.Option("--model", help="The model it is a version of.")],
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Make a finished SageMaker training job a version of a model. The same job again is the same version."""
    from pipelines.steps.register import RegisterInput
    from pipelines.steps.register import register as step
    from registry.names import check_label

    with wired(bucket) as parts, progressing() as progress:
        request = RegisterInput(job=job, model=check_label(model), actor=parts.actor)
        version = step(request, parts.sources, parts.registry, progress)
    if json:
        as_json(version)
    else:
        line(str(version.ref))


def models(bucket: Bucket = None, json: AsJson = False) -> None:
    """List the models."""
    with wired(bucket) as parts:
        registry = parts.registry
        found = [(model, next(registry.versions(model.name), None)) for model in registry.models()]
    if json:
        as_json([{**model.model_dump(mode="json"), "newest": newest and newest.number} for model, newest in found])
        return
    rows = [(model.name, newest and newest.ref, model.created_at, model.created_by) for model, newest in found]
    table(("model", "newest", "created", "by"), rows, empty="There are no models yet: `sluice register` makes one.")


def versions(model: ModelArgument, bucket: Bucket = None, json: AsJson = False) -> None:
    """List a model's versions, newest first."""
    from registry.names import check_label

    with wired(bucket) as parts:
        found = list(parts.registry.states(check_label(model)))
        if not found:
            next(parts.registry.versions(model), None)  # raises where there is no such model
    if json:
        as_json([{**v.model_dump(mode="json"), "state": state} for v, state in found])
        return
    rows = (
        (v.ref, state, v.source.training.job, _pairs(v.source.training.metrics), v.created_at, v.created_by)
        for v, state in found
    )
    table(("version", "state", "job", "metrics", "created", "by"), rows, empty=f"{model} has no versions yet.")


def show(ref: VersionArgument, bucket: Bucket = None, json: AsJson = False) -> None:
    """Show all that is known of a version."""
    from registry.names import VersionRef

    with wired(bucket) as parts:
        version = parts.registry.version(VersionRef.parse(ref))
        facts = parts.registry.facts(version.ref)
    if json:
        as_json({**version.model_dump(mode="json"), "state": facts.state, "facts": facts.model_dump(mode="json")})
        return
    training = version.source.training
    fields(
        (
            ("version", version.ref),
            ("state", facts.state),
            ("created", f"{version.created_at:%Y-%m-%d %H:%M:%SZ} by {version.created_by}"),
            ("job", training.arn),
            ("trained", f"{training.instance_count} x {training.instance_type}, {training.image}"),
            ("hyperparameters", _pairs(training.hyperparameters)),
            ("metrics", _pairs(training.metrics)),
            ("inputs", ", ".join(channel.uri for channel in training.inputs)),
            ("source", f"{version.source.uri}, {version.source.size} bytes"),
            ("scan", facts.scan and f"{facts.scan.format.value} in {len(facts.scan.files)} files, {facts.scan.source}"),
            (
                "artifact",
                facts.artifact and f"{facts.artifact.type} of {facts.artifact.size} bytes, {facts.artifact.blob}",
            ),
            ("image", facts.image and facts.image.reference),
            ("base", facts.image and f"{facts.image.runtime}, {facts.image.base}"),
        )
    )


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
