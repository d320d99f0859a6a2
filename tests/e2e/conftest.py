"""What the stories share: an example's training job, taken through the product's own steps in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines.archive import Limits, Member
from pipelines.packagers import Layout, packager_of
from pipelines.steps.package import package
from pipelines.steps.register import RegisterInput, register
from registry.facts import Artifact, Source, Training
from registry.memory import MemoryBlobs, MemoryBytes, MemoryOutputs, MemoryStore, etag_of
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage

EXAMPLES = Path(__file__).parents[2] / "examples"


class ExampleJobs:
    """The training jobs of one example, from its folder."""

    def __init__(self, model: str) -> None:
        self._jobs = EXAMPLES / model / "jobs"
        self.files: dict[str, bytes] = {}
        """What lies at the addresses of the jobs that were found."""

    def find(self, job: str) -> Source:
        told = json.loads((self._jobs / job / "job.json").read_text())
        output = self._jobs / job / "model.tar.gz"
        training = Training(
            job=job,
            arn=f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{job}",
            image=told["AlgorithmSpecification"]["TrainingImage"],
        )
        uri = f"{told['OutputDataConfig']['S3OutputPath']}/{job}/output/model.tar.gz"
        data = output.read_bytes()
        self.files[uri] = data
        return Source(uri=uri, etag=etag_of(data), size=len(data), training=training)


class Packaged(NamedTuple):
    """An example after the package step."""

    ref: VersionRef
    artifact: Artifact
    blobs: MemoryBlobs
    sample: bytes
    """A request that the model's server is sent."""
    expected: int
    """The class that the model finds the sample to be."""

    @property
    def layout(self) -> Layout:
        return packager_of(self.artifact).layout(self.ref)

    def unpack(self, root: Path) -> None:
        """Lay the files out under `root` as the image does under `/`, without its config."""
        with self.blobs.open(self.artifact.blob) as reader:
            for member in packager_of(self.artifact).unpack(reader, self.artifact):
                _write(root / self.layout.folder, member)


def _write(folder: Path, member: Member) -> None:
    path = folder / member.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.writelines(member.chunks)


@pytest.fixture
def packaged() -> Callable[[str, str], Packaged]:
    """Registers, scans and packages one training job of an example: `packaged(model, job)`."""

    def run(model: str, job: str) -> Packaged:
        jobs, place = ExampleJobs(model), MemoryBytes()
        outputs, blobs = MemoryOutputs(place, jobs.files), MemoryBlobs(place)
        registry = Registry(Storage(MemoryStore(), outputs, blobs, place))
        version = register(RegisterInput(source=job, model=model, actor="tests"), jobs, blobs, registry, Silent())
        artifact = package(version.ref, outputs, registry, blobs, Limits(), Silent())
        sample = (EXAMPLES / model / "sample.json").read_bytes()
        expected = json.loads((EXAMPLES / model / "sample.expected.json").read_bytes())["class"]
        return Packaged(version.ref, artifact, blobs, sample, expected)

    return run
