"""`sluice register`: one source, or all finished training jobs that were not registered yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from registry.errors import InvalidInput, Refused
from registry.roles import Role
from sluice.cli import when
from sluice.cli.common import SOURCE, AsJson, Bucket, add, made, pairs, progressing, wired
from sluice.cli.output import as_json, line

if TYPE_CHECKING:
    from pipelines.steps.register import Swept

_PANEL = "Registry"


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    add(app, _PANEL, register, "sluice register fraud-2026-11-01 --model fraud --metric auc=0.93 --tag team=risk")


def register(
    model: Annotated[str, typer.Option("--model", help="The model it is a version of.")],
    source: Annotated[str | None, typer.Argument(metavar="[SOURCE]", help=SOURCE)] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", metavar="NAME=NUMBER", help="A metric, over the job's own.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="A tag.")] = None,
    git_commit: Annotated[
        str, typer.Option("--git-commit", metavar="SHA", help="Commit of the training code, if the job does not say.")
    ] = "",
    description: Annotated[str, typer.Option("--description", help="What there is to say of it.")] = "",
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="WHEN", help="Instead of SOURCE: all jobs that completed since, as 7d or 2026-11-01."
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", metavar="PATTERN", help="With --since: jobs of such a name, 'fraud-*'.")
    ] = "",
    job_tag: Annotated[
        str | None, typer.Option("--job-tag", metavar="NAME[=VALUE]", help="With --since: jobs with this tag.")
    ] = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Make a finished training job, or another source, a version of a model. The same again is the same version."""
    if since is not None:
        if source is not None or metric or tag or git_commit or description:
            raise InvalidInput("--since takes all jobs as they are: give it without SOURCE and what is said of one.")
        _sweep(since, model, name, job_tag, bucket, json)
        return
    if source is None:
        raise InvalidInput("Nothing is named to register: give a SOURCE, or --since.")
    if name or job_tag is not None:
        raise InvalidInput("--name and --job-tag choose among jobs: give them with --since.")
    said = {"metrics": _metrics(metric), "tags": pairs(tag, "--tag"), "git_commit": git_commit}
    _one(source, model, {**said, "description": description}, bucket, json)


def _one(source: str, model: str, said: Mapping[str, object], bucket: str | None, json: bool) -> None:
    from pipelines.steps.register import RegisterInput
    from pipelines.steps.register import register as step
    from registry.names import check_label

    with wired(bucket, needs=Role.RELEASER) as parts, progressing() as progress:
        request = made(RegisterInput, source=source, model=check_label(model), actor=parts.actor, **said)
        version = step(request, parts.sources, parts.blobs, parts.registry, progress)
    if json:
        as_json(version)
    else:
        line(str(version.ref))


def _sweep(since: str, model: str, name: str, job_tag: str | None, bucket: str | None, json: bool) -> None:
    from pipelines.steps.register import SweepInput, sweep
    from registry.names import check_label

    found: list[Swept] = []
    with wired(bucket, needs=Role.RELEASER) as parts, progressing() as progress:
        request = SweepInput(
            since=when.since(since), model=check_label(model), actor=parts.actor, name=name, tag=_job_tag(job_tag)
        )
        for swept in sweep(request, parts.sources, parts.registry, progress):
            found.append(swept)
            if swept.version is not None and not json:
                line(f"{swept.version.ref} {swept.job}")
    if json:
        as_json([swept._asdict() for swept in found])
    failed = [swept for swept in found if swept.version is None]
    if failed:
        raise Refused(f"{len(failed)} of {len(found)} jobs could not be registered, {failed[0].job} among them.")


def _job_tag(text: str | None) -> tuple[str, str | None] | None:
    if text is None:
        return None
    name, equals, value = text.partition("=")
    if not name:
        raise InvalidInput(f"{text[:80]!r} is no tag: write it as --job-tag NAME or NAME=VALUE.")
    return name, value if equals else None


def _metrics(given: Sequence[str] | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in pairs(given, "--metric").items():
        try:
            found[name] = float(value)
        except ValueError as error:
            raise InvalidInput(f"{value[:40]!r} is no number: write it as --metric {name[:80]}=0.93.") from error
    return found
