"""Models on the move: to another registry's bucket, and here from one or from MLflow.

The server goes there with its own credentials, so whoever asks must not name just any place. A model's admin may name
the buckets of `serve.buckets`, an admin of all models any bucket that the server reaches; an MLflow server must be one
of `serve.mlflow_hosts`, whoever asks. A move that broke off is finished by sending it again.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from registry.errors import InvalidInput, Refused
from registry.hosts import is_loopback
from registry.limits import URI_MAX, Line
from registry.mlflow.importer import Imported, import_mlflow
from registry.moving import Moved, move_model
from registry.names import ModelName, check_bucket
from registry.progress import Silent
from registry.roles import Role
from sluice.api.access import EVERY_MODEL, Principal
from sluice.api.config import Serve
from sluice.api.deps import Admin, Given, ModelPath, SomeAdmin, at_length
from sluice.api.parts import Parts

router = APIRouter(prefix="/v1", tags=["moving"])

# narrower than addresses may be, so that no two readers of one can differ on its host
_ADDRESS = re.compile(r"https?://([a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?)(?:/[A-Za-z0-9._~/-]*)?")


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Export(_Body):
    """Where to copy a model."""

    bucket: Annotated[str, Field(min_length=3, max_length=63)]


class Import(_Body):
    """What to bring here, from one of two kinds of place."""

    model: ModelName
    """Its name here; in a bucket it has the same one."""
    from_bucket: Annotated[str | None, Field(alias="from", max_length=100)] = None
    """Another registry's bucket, `s3://bucket`."""
    from_mlflow: Annotated[str | None, Field(max_length=URI_MAX)] = None
    """An MLflow server, `https://host`."""
    name: Annotated[Line, Field(min_length=1)] | None = None
    """The model's name in MLflow, where it is another."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.from_bucket is None) == (self.from_mlflow is None):
            raise ValueError("give one of from and from_mlflow")
        if self.name is not None and self.from_mlflow is None:
            raise ValueError("name is about models in MLflow")
        return self


@router.post("/models/{model}/export")
async def export(request: Request, parts: Given, who: Admin, model: ModelPath, body: Export) -> Moved:
    """Copy a model with its bytes into another registry's bucket, numbers and times and all."""
    _check_bucket(request, who, body.bucket)

    def move() -> Moved:
        ours, theirs = parts.registry.storage, parts.other(body.bucket)
        return move_model(model, ours, theirs, actor=who.actor, progress=Silent())

    return await at_length(request, move)


@router.post("/imports")
async def bring(request: Request, parts: Given, who: SomeAdmin, body: Import) -> Moved | Imported:
    """Copy a model with its bytes from another registry's bucket, or from MLflow, with the same version numbers."""
    who.check(Role.ADMIN, body.model)
    if body.from_mlflow is not None:
        url = body.from_mlflow
        _check_host(request, url)
        return await at_length(request, lambda: _from_mlflow(parts, who, url, body))
    bucket = (body.from_bucket or "").removeprefix("s3://").removesuffix("/")
    _check_bucket(request, who, bucket)

    def move() -> Moved:
        theirs, ours = parts.other(bucket), parts.registry.storage
        return move_model(body.model, theirs, ours, actor=who.actor, progress=Silent())

    return await at_length(request, move)


def _from_mlflow(parts: Parts, who: Principal, url: str, body: Import) -> Imported:
    name = body.name or body.model
    with parts.mlflow(url) as mlflow:
        return import_mlflow(parts.registry, mlflow, name, as_name=body.model, actor=who.actor, progress=Silent())


def _check_bucket(request: Request, who: Principal, bucket: str) -> None:
    if check_bucket(bucket) not in _settings(request).buckets and not who.may(Role.ADMIN, EVERY_MODEL):
        raise Refused(f"{bucket} is not a bucket that a model's admin may name: ask to have it in serve.buckets.")


def _check_host(request: Request, url: str) -> None:
    match = _ADDRESS.fullmatch(url)
    if match is None:
        raise InvalidInput(
            f"{url[:200]!r} is no MLflow server that is asked from here: give https://host, in small letters, without"
            " user or query."
        )
    host = match[1]
    if url.startswith("http://") and not is_loopback(host.partition(":")[0]):
        raise Refused(f"MLflow at {host} would be sent its token in clear: name it by https://.")
    if host not in _settings(request).mlflow_hosts:
        raise Refused(f"This server does not ask MLflow at {host}: have it put in the setting serve.mlflow_hosts.")


def _settings(request: Request) -> Serve:
    found: Serve = request.app.state.serve
    return found
