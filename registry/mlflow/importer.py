"""`sluice import --from-mlflow`: a registered model of MLflow becomes a model here, with the same version numbers.

MLflow's numbers have gaps where versions were deleted; here they are taken by versions that are deleted from the
start, so that `fraud@7` stays the seventh. Given again, an import goes on from where it was and adds what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydantic import NonNegativeInt

from registry import log
from registry.changes import Model, ModelEdit
from registry.errors import Conflict, InvalidInput, NotFound, SluiceError
from registry.facts import Record, Source, SourceKind
from registry.limits import Line
from registry.mlflow.limits import alias_label, fit_model, fit_version, label
from registry.mlflow.reader import Mlflow, MlflowModel, MlflowVersion
from registry.names import ModelName, VersionRef, check_label
from registry.progress import Progress
from registry.registry import Registry


class Imported(Record):
    """What an import did. What was there before is not counted."""

    model: ModelName
    versions: NonNegativeInt
    size: NonNegativeInt
    """Bytes of their archives."""
    aliases: NonNegativeInt
    left_out: tuple[Line, ...]
    """One line for each thing that did not fit."""


class _Job(NamedTuple):
    registry: Registry
    mlflow: Mlflow
    model: MlflowModel
    target: str
    actor: str
    progress: Progress


def import_mlflow(
    registry: Registry, mlflow: Mlflow, name: str, *, as_name: str | None = None, actor: str, progress: Progress
) -> Imported:
    """Bring over a registered model: names, versions, aliases, tags, metrics, parameters and artifacts.

    Raises:
        NotFound: MLflow has no such model.
        Conflict: the model here has versions of its own.
        InvalidInput: the name has no letters that a model's name may hold.
    """
    known = next((model for model in mlflow.models() if model.name == name), None)
    if known is None:
        raise NotFound(f"MLflow has no registered model {name[:200]!r}: check the name.")
    job = _Job(registry, mlflow, known, check_label(as_name) if as_name else label(name), actor, progress)
    versions, size, left_out, expected = 0, 0, list[str](), 1
    for version in mlflow.versions(name):
        for gap in range(expected, version.number):
            _leave_gap(job, gap)
        added, lines = _bring(job, version)
        versions, size = versions + (added is not None), size + (added or 0)
        left_out += [f"{job.target}@{version.number}: {line}" for line in lines]
        expected = version.number + 1
    if expected == 1:
        raise NotFound(f"MLflow's model {name[:200]!r} has no versions: there is nothing to import.")
    left_out += _describe(job, known)
    aliases = sum(_point(job, alias, number, left_out) for alias, number in sorted(known.aliases.items()))
    return Imported(
        model=job.target, versions=versions, size=size, aliases=aliases, left_out=tuple(line[:500] for line in left_out)
    )


def import_all(registry: Registry, mlflow: Mlflow, *, actor: str, progress: Progress) -> Iterator[Imported]:
    """Bring over every registered model that has versions.

    Raises:
        Conflict: two of them would have the same name here, or one has versions of its own here.
    """
    names: dict[str, str] = {}
    for model in list(mlflow.models()):
        other = names.setdefault(label(model.name), model.name)
        if other != model.name:
            raise Conflict(
                f"{other!r} and {model.name!r} would both be {label(other)}: import one by one, with --name."
            )
        if next(mlflow.versions(model.name), None) is not None:
            yield import_mlflow(registry, mlflow, model.name, actor=actor, progress=progress)


def _source(job: _Job, number: int, kind: SourceKind) -> Source:
    # the time tells one server's model from another server's of the same name
    made = f"{job.model.created_at:%Y%m%dT%H%M%S.%fZ}"
    return Source(kind=kind, uri=f"mlflow:{label(job.model.name)}/{number}?made={made}", size=0)


def _bring(job: _Job, version: MlflowVersion) -> tuple[int | None, tuple[str, ...]]:
    """Register one version; gives the bytes of its archive, None where it was there, and what was left out."""
    fitted = fit_version(version)
    source = _source(job, version.number, SourceKind.MLFLOW)
    if _is_there(job, source, version.number):
        return None, fitted.left_out
    what = f"{job.target}@{version.number}"
    blob = job.registry.storage.blobs.put(job.mlflow.archive(version), what=f"import {what}", progress=job.progress)
    source = source.model_copy(update={"digest": blob.digest, "size": blob.size, "parameters": fitted.parameters})
    made = job.registry.register(
        job.target,
        source,
        actor=fitted.actor,
        metrics=fitted.metrics,
        tags=fitted.tags,
        git_commit=fitted.git_commit,
        description=fitted.description,
        created_at=version.created_at,
    )
    _check_number(made.version.ref, version.number)
    job.progress.fact(f"{what} imported: {blob.size} bytes, {blob.digest}")
    return blob.size, fitted.left_out


def _leave_gap(job: _Job, number: int) -> None:
    source = _source(job, number, SourceKind.NONE)
    if not _is_there(job, source, number):
        made = job.registry.register(job.target, source, actor=job.actor)
        _check_number(made.version.ref, number)
    ref = VersionRef(model=job.target, number=number)
    job.registry.delete(ref, actor=job.actor, reason="was deleted in MLflow before the import")


def _is_there(job: _Job, source: Source, number: int) -> bool:
    there = job.registry.registered(job.target, source)
    if there is not None:
        _check_number(there.ref, number)
        return True
    last = log.newest(job.registry.records, job.target)
    if (last.last if last else 0) != number - 1:
        raise _own_versions(job.target)
    return False


def _check_number(ref: VersionRef, number: int) -> None:
    if ref.number != number:
        raise _own_versions(ref.model)


def _own_versions(target: str) -> SluiceError:
    return Conflict(f"{target} has versions of its own here: give the model another name here.")


def _describe(job: _Job, model: MlflowModel) -> tuple[str, ...]:
    fitted = fit_model(model)
    here: Model = job.registry.model(job.target)
    missing = {key: value for key, value in fitted.tags.items() if key not in here.tags}
    description = fitted.description if not here.description and fitted.description else None
    if missing or description:
        job.registry.edit_model(job.target, ModelEdit(description=description, tags=missing), actor=job.actor)
    return tuple(f"{job.target}: {line}" for line in fitted.left_out)


def _point(job: _Job, alias: str, number: int, left_out: list[str]) -> bool:
    """Set an alias that nobody has set here; whether it was."""
    try:
        name = alias_label(alias)
    except InvalidInput as error:
        left_out.append(f"{job.target}: {error}")
        return False
    try:
        job.registry.alias_history(job.target, name)
    except NotFound:
        ref = VersionRef(model=job.target, number=number)
    else:
        return False
    try:
        job.registry.set_alias(ref, name, actor=job.actor, expect=0, reason="imported from MLflow")
    except NotFound as error:  # it was deleted here meanwhile
        left_out.append(f"{job.target}@{name}: {error}")
        return False
    return True
