"""Commands that move models between registries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from registry.errors import InvalidInput
from registry.roles import Role
from sluice.cli.common import AsJson, Bucket, ModelArgument, add, progressing, wired
from sluice.cli.output import as_json, fields, line, size

if TYPE_CHECKING:
    from registry.mlflow.importer import Imported
    from registry.moving import Moved
    from registry.progress import Progress
    from registry.storage import Storage
    from sluice.wiring import Wiring

_PANEL = "Bucket"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, export, "sluice export fraud --to s3://other-bucket")
    add(app, _PANEL, import_, "sluice import fraud --from-mlflow http://127.0.0.1:5000", name="import")


def export(
    model: ModelArgument,
    to: Annotated[str, typer.Option("--to", metavar="S3://BUCKET", help="The other registry's bucket.")],
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Copy a model with its bytes and history to another bucket. Again, it goes on from where it was."""
    from registry.moving import move_model
    from registry.names import check_label

    check_label(model)
    with wired(bucket, needs=Role.RELEASER) as parts, progressing() as progress:
        other = _other(parts, to)
        moved = move_model(model, parts.storage, other, actor=parts.actor, progress=progress)
    _moved(moved, f"{model} is in {to}", json)


def import_(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="The model's name here.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="S3://BUCKET", help="Another registry's bucket.")
    ] = None,
    from_mlflow: Annotated[
        str | None,
        typer.Option(
            "--from-mlflow", metavar="URI", help="MLflow: a server http://…, a database sqlite:///…, a folder."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="With --from-mlflow: the model's name there, if it is another.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="With --from-mlflow: all models, not one.")] = False,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Copy a model with its bytes and history from another bucket, or from MLflow, with the same version numbers.

    Again, it goes on from where it was and adds what is new.
    """
    from registry.names import check_label

    if (source is None) == (from_mlflow is None):
        raise InvalidInput("It comes from one place: give --from or --from-mlflow.")
    if from_mlflow is None and (name is not None or everything):
        raise InvalidInput("--name and --all are about models in MLflow: give them with --from-mlflow.")
    if (model is None) != everything or (name is not None and everything):
        raise InvalidInput("Say which models: one MODEL, with --name where it has another in MLflow, or --all.")
    if model is not None:
        check_label(model)
    with wired(bucket, needs=Role.RELEASER) as parts, progressing() as progress:
        if source is not None:
            from registry.moving import move_model

            moved = move_model(model or "", _other(parts, source), parts.storage, actor=parts.actor, progress=progress)
        else:
            imported = _from_mlflow(parts, from_mlflow or "", name or model, model, progress)
    if source is not None:
        _moved(moved, f"{model} is here", json)
    elif json:
        as_json(imported if everything else imported[0])
    else:
        for one in imported:
            _imported(one)


def _from_mlflow(
    parts: Wiring, uri: str, name: str | None, model: str | None, progress: Progress
) -> Sequence[Imported]:
    from registry.mlflow.importer import import_all, import_mlflow
    from registry.mlflow.reader import Mlflow

    with Mlflow(uri, clients=parts.clients, tell=progress.fact) as mlflow:
        if name is None:
            return list(import_all(parts.registry, mlflow, actor=parts.actor, progress=progress))
        return [import_mlflow(parts.registry, mlflow, name, as_name=model, actor=parts.actor, progress=progress)]


def _other(parts: Wiring, text: str) -> Storage:
    from registry.names import check_bucket
    from registry.storage import Storage

    name = text.removeprefix("s3://").removesuffix("/")
    if check_bucket(name) == parts.bucket:
        raise InvalidInput(f"{name} is this registry's own bucket: name another.")
    return Storage.s3(parts.clients, name)


def _moved(moved: Moved, done: str, json: bool) -> None:
    if json:
        as_json(moved)
        return
    line(f"{done}.")
    fields(
        (
            ("new versions", str(moved.versions)),
            ("new records", str(moved.records)),
            ("copied", f"{moved.copies} objects of {size(moved.copied_size)}"),
        )
    )


def _imported(imported: Imported) -> None:
    line(f"{imported.model} is here.")
    fields(
        (
            ("new versions", f"{imported.versions} of {size(imported.size)}"),
            ("new aliases", str(imported.aliases)),
            ("left out", f"{len(imported.left_out)} things:" if imported.left_out else ""),
        )
    )
    for left in imported.left_out:
        line(f"  {left}")
