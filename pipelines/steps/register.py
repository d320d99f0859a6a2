"""Step 1: a finished training job becomes a version."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from registry.facts import Version
from registry.names import ModelName
from registry.progress import Progress
from registry.registry import Registry
from registry.sagemaker import Sources


class RegisterInput(BaseModel):
    """Which job, as which model, on whose behalf."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    model: ModelName
    actor: str


def register(request: RegisterInput, sources: Sources, registry: Registry, progress: Progress) -> Version:
    """Register a training job's output; the same job again gives the same version.

    Raises:
        NotFound: there is no such job, or no output.
        Refused: the job is not finished, failed or was stopped.
    """
    source = sources.find(request.job)
    version, created = registry.register(request.model, source, actor=request.actor)
    verb = "registered" if created else "was registered already"
    progress.fact(f"{version.ref} {verb}: {source.training.job}, {source.size} bytes at {source.uri}")
    return version
