"""The training jobs that the demo begins with: models that were really trained, kept beside their training scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from registry.errors import SluiceError


class Example(BaseModel):
    """A finished training job, and the archive it left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    request: dict[str, Any]
    """A CreateTrainingJob request, with the final metrics beside it."""
    archive: Path

    @property
    def job(self) -> str:
        """The training job's name."""
        return str(self.request["TrainingJobName"])

    @property
    def key(self) -> tuple[str, str]:
        """Bucket and key at which SageMaker leaves the archive: `<output path>/<job>/output/model.tar.gz`."""
        output = str(self.request["OutputDataConfig"]["S3OutputPath"]).removeprefix("s3://")
        bucket, _, prefix = output.partition("/")
        return bucket, f"{prefix}/{self.job}/output/model.tar.gz".lstrip("/")


def load() -> list[Example]:
    """The examples, by model and then by job, which is by date.

    Raises:
        SluiceError: they were not installed.
    """
    installed = Path(__file__).parent / "examples"
    folder = installed if installed.is_dir() else Path(__file__).parents[2] / "examples"
    found = [
        Example(model=job.parents[2].name, request=json.loads(job.read_bytes()), archive=job.with_name("model.tar.gz"))
        for job in sorted(folder.glob("*/jobs/*/job.json"))
    ]
    if not found:
        raise SluiceError(f"The demo's examples are not in {folder}: install Sluice again.")
    return found
