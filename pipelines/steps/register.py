"""Step 1: a finished training job, or another archive, becomes a version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from registry.archive import tar_gz_of
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from registry.facts import Source, SourceKind, Version
from registry.limits import Description, Line, Metrics, Tags
from registry.names import ModelName
from registry.progress import Progress
from registry.registry import Registry
from registry.sagemaker import Sources
from registry.store import Blobs

_PACKAGE = re.compile(r"arn:[^:]+:sagemaker:[^:]*:[^:]*:model-package/.+|[A-Za-z0-9-]+/[0-9]+")
_PATH = re.compile(r"\.?\.?/.*|~.*|\.\.?", re.DOTALL)


class RegisterInput(BaseModel):
    """What to register, as which model, on whose behalf."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """As `find` reads it: a training job, a model package, s3://…, or a path."""
    model: ModelName
    actor: str
    metrics: Metrics = {}
    """Beside the job's own, and over them."""
    tags: Tags = {}
    git_commit: Line = ""
    """Of the training code; by default what the job's tags and hyperparameters tell."""
    description: Description = ""


def find(sources: Sources, blobs: Blobs | None, text: str, progress: Progress) -> Source:
    """What a text names, told by how it begins and by nothing else, so that no file can hide a job.

    - `./…`, `../…`, `/…`, `~…`: a local file or folder, which is packed and stored in `blobs`, or refused where
      these are None: as they must be for whoever asks from another machine.
    - `s3://bucket/key`: an archive in S3.
    - `arn:…:model-package/…` or `group/7`: a SageMaker model package.
    - all else: a training job, by its name or ARN.

    Raises:
        InvalidInput: a path where none may be read, or what cannot be an address.
        NotFound: nothing is there.
        Refused: what is there is not finished, or not what may be packed.
    """
    if _PATH.fullmatch(text):
        if blobs is None:
            raise InvalidInput(f"{text[:200]!r} is a path, which is not read from here: upload the file first.")
        blob = blobs.put(tar_gz_of(_path(text)), what=f"store {text}", progress=progress)
        return Source(kind=SourceKind.UPLOAD, uri=blob.digest, digest=blob.digest, size=blob.size)
    if text.startswith("s3://"):
        return sources.find_s3(text)
    if _PACKAGE.fullmatch(text):
        return sources.find_package(text)
    return sources.find(text)


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise NotFound(f"Nobody has the home folder of {text}: check the path.") from error


def register(
    request: RegisterInput, sources: Sources, blobs: Blobs | None, registry: Registry, progress: Progress
) -> Version:
    """Register a source; the same one again gives the same version.

    Raises:
        InvalidInput, NotFound, Refused: as `find` does.
        Conflict: the source was replaced while it was registered.
    """
    source = find(sources, blobs, request.source, progress)
    version, created = registry.register(
        request.model,
        source,
        actor=request.actor,
        metrics=request.metrics,
        tags=request.tags,
        git_commit=request.git_commit,
        description=request.description,
    )
    verb = "registered" if created else "was registered already"
    progress.fact(f"{version.ref} {verb}: {source.name}, {source.size} bytes at {source.uri}")
    return version


class SweepInput(BaseModel):
    """Which training jobs, as which model, on whose behalf."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: datetime
    """Jobs that completed then or later."""
    model: ModelName
    actor: str
    name: str = ""
    """A pattern as for files, `fraud-*`; "" is every job."""
    tag: tuple[str, str | None] | None = None
    """A tag that the job must have, and its value, None for any."""


class Swept(NamedTuple):
    """What became of one job."""

    job: str
    version: Version | None
    """None where it could not be registered."""
    problem: str = ""
    """Why not, in a sentence."""


def sweep(request: SweepInput, sources: Sources, registry: Registry, progress: Progress) -> Iterator[Swept]:
    """Register the matching training jobs that never were, oldest first, and tell of each as it is done.

    What was registered once is passed over, so a version that was deleted does not come back. A job that cannot be
    registered, since its output is gone for example, does not keep the others from it.

    Raises:
        Refused: the credentials do not allow listing jobs.
        Unavailable: AWS does not answer; what was done stays done.
    """
    for job in sources.finished(request.since, name=request.name, tag=request.tag):
        try:
            version = _register_new(job, request, sources, registry, progress)
        except (NotFound, Refused, Conflict) as error:
            progress.fact(f"{job} was not registered: {error}")
            yield Swept(job, None, str(error))
        else:
            if version is not None:
                yield Swept(job, version)


def _register_new(
    job: str, request: SweepInput, sources: Sources, registry: Registry, progress: Progress
) -> Version | None:
    source = sources.find(job)
    if registry.registered(request.model, source):
        return None
    version, created = registry.register(request.model, source, actor=request.actor)
    if not created:
        return None
    progress.fact(f"{version.ref} registered: {source.name}, {source.size} bytes at {source.uri}")
    return version
