"""`MAR-INF/MANIFEST.json`: written as torch-model-archiver 0.12 does, and read from an archive that it packed.

Its fields are those of model_archiver/manifest_components; the time is the version's, not a clock's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pipelines.packagers.torchserve.handlers import OWN_HANDLERS
from registry.errors import InvalidInput, Refused
from registry.names import VersionRef

MANIFEST = "MAR-INF/MANIFEST.json"
MANIFEST_MAX = 1 << 20
_Name = Annotated[str, Field(max_length=1024)]


class ModelPart(BaseModel):
    """The model's part of a manifest, but for the name and the number, which are the version's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    handler: Annotated[_Name, Field(min_length=1)]
    serializedFile: _Name | None = None  # noqa: N815  # the manifest's own spelling, as below
    modelFile: _Name | None = None  # noqa: N815
    extensions: JsonValue = None
    requirementsFile: _Name | None = None  # noqa: N815
    configFile: _Name | None = None  # noqa: N815


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    runtime: Literal["python", "python3"]
    model: ModelPart


def write(model: ModelPart, ref: VersionRef, created_at: datetime, runtime: str = "python") -> bytes:
    """The manifest of a version's archive."""
    told: dict[str, JsonValue] = {
        "modelName": ref.model,
        "serializedFile": model.serializedFile,
        "handler": model.handler,
        "modelFile": model.modelFile,
        "modelVersion": str(ref.number),
        "extensions": model.extensions,
        "requirementsFile": model.requirementsFile,
        "configFile": model.configFile,
    }
    manifest = {
        "createdOn": created_at.strftime("%d/%m/%Y %H:%M:%S"),
        "runtime": runtime,
        "model": {name: value for name, value in told.items() if value},
        "archiverVersion": "0.12.0",
    }
    return json.dumps(manifest, indent=2).encode()


def rewrite(given: bytes, ref: VersionRef, created_at: datetime, own: str) -> tuple[ModelPart, bytes]:
    """A ready archive's manifest, what it says of the model, and how it reads with the version's name and number.

    `own` is the handler that model.yaml names, "" for the archive's.

    Raises:
        InvalidInput: it is no manifest, or is for another kind of worker.
    """
    try:
        told = _Given.model_validate_json(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"][:4])
        raise InvalidInput(
            f"{MANIFEST} of the .mar is wrong ({place + ': ' if place else ''}{first['msg'][:200]}): pack it with"
            " torch-model-archiver."
        ) from error
    model = told.model.model_copy(update={"handler": own}) if own else told.model
    return model, write(model, ref, created_at, told.runtime)


def check_named(model: ModelPart, paths: Collection[str]) -> None:
    """Compare the files that a manifest names with those that are there.

    Raises:
        Refused: one is missing.
    """
    named: Mapping[str, str | None] = {
        "serializedFile": model.serializedFile,
        "modelFile": model.modelFile,
        "requirementsFile": model.requirementsFile,
        "configFile": model.configFile,
    }
    missing = [(field, path) for field, path in named.items() if path and path not in paths]
    handler = model.handler.split(":")[0]
    if handler not in OWN_HANDLERS and not _importable(handler, paths):
        missing.append(("handler", handler))
    if missing:
        field, path = missing[0]
        raise Refused(f"{MANIFEST} of the .mar names {path[:200]!r} as {field}, which is not in it: pack it again.")


def _importable(handler: str, paths: Collection[str]) -> bool:
    """Whether TorchServe's worker finds the module: in the folder that is named, else at the top."""
    path = handler.removesuffix(".py")
    module = path.rpartition("/")[2]
    return any(f"{place}{end}" in paths for place in (path, module) for end in (".py", "/__init__.py"))
