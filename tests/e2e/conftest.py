"""What the stories share: an example's training job, taken through the product's own steps in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gitops.runtimes import RUNTIMES, RuntimeSpec
from pipelines.archive import Member
from pipelines.packagers import Layout, packager_of
from pipelines.steps.package import PackageInput, package
from pipelines.steps.register import RegisterInput, register
from registry.facts import Artifact, Signature, Source, Training, Version
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
    """A training output after the package step."""

    ref: VersionRef
    artifact: Artifact
    blobs: MemoryBlobs
    signature: Signature | None
    sample: bytes = b""
    """A request that the model's server is sent."""
    expected: int = 0
    """The class that the model finds the sample to be."""

    @property
    def layout(self) -> Layout:
        return packager_of(self.artifact).layout(self.ref, self.artifact)

    @property
    def spec(self) -> RuntimeSpec:
        """How its server is started."""
        return RUNTIMES[packager_of(self.artifact).runtime]

    def unpack(self, root: Path) -> None:
        """Lay the files out under `root` as the image does under MODEL_ROOT, without its config."""
        with self.blobs.open(self.artifact.blob) as reader:
            for member in packager_of(self.artifact).unpack(reader, self.artifact):
                _write(root / self.layout.folder, member)


def _write(folder: Path, member: Member) -> None:
    path = folder / member.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.writelines(member.chunks)


class Place:
    """A registry in memory, and the bytes of what is registered."""

    def __init__(self, jobs: ExampleJobs) -> None:
        self._jobs, place = jobs, MemoryBytes()
        self._outputs, self._blobs = MemoryOutputs(place, jobs.files), MemoryBlobs(place)
        self._registry = Registry(Storage(MemoryStore(), self._outputs, self._blobs, place))

    def register(self, source: str, model: str) -> Version:
        asked = RegisterInput(source=source, model=model, actor="tests")
        return register(asked, self._jobs, self._blobs, self._registry, Silent())

    def package(self, ref: VersionRef, handler: str = "") -> Packaged:
        asked = PackageInput(ref=ref, handler=handler)
        artifact = package(asked, self._outputs, self._registry, self._blobs, Silent())
        return Packaged(ref, artifact, self._blobs, self._registry.fact(ref, Signature))


@pytest.fixture
def packaged() -> Callable[[str, str], Packaged]:
    """Registers, scans and packages one training job of an example: `packaged(model, job)`."""

    def run(model: str, job: str) -> Packaged:
        place = Place(ExampleJobs(model))
        done = place.package(place.register(job, model).ref)
        sample = (EXAMPLES / model / "sample.json").read_bytes()
        expected = json.loads((EXAMPLES / model / "sample.expected.json").read_bytes())["class"]
        return done._replace(sample=sample, expected=expected)

    return run


@pytest.fixture
def packaged_folder() -> Callable[..., Packaged]:
    """Does so with a folder that somebody trained into: `packaged_folder(folder, model)`."""

    def run(folder: Path, model: str, handler: str = "") -> Packaged:
        place = Place(ExampleJobs(model))
        return place.package(place.register(str(folder), model).ref, handler)

    return run
