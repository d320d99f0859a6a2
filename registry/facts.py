"""What is known of a model version. Each class is one kind of JSON object in the bucket.

The version itself is written once, at registration. What is learnt later, the facts, are objects beside it, each
written once too; the state of a version is which of them exist.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from registry.names import Digest, ImageRef, ModelName, VersionNumber, VersionRef


class Record(BaseModel):
    """An object in the bucket."""

    # a metric may be NaN, which JSON has no word for: "NaN" is read back as the number, null would not be
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def to_bytes(self) -> bytes:
        """The record as it is stored: indented JSON in order of declaration, so equal records are equal bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"


class Model(Record):
    """A model, made at its first registration."""

    name: ModelName
    created_at: datetime
    created_by: str


class Channel(Record):
    """One input of a training job."""

    name: str
    uri: str


class Training(Record):
    """What SageMaker tells of a finished training job (API reference, DescribeTrainingJob)."""

    job: str
    arn: str
    image: str
    hyperparameters: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    inputs: tuple[Channel, ...] = ()
    instance_type: str = ""
    instance_count: NonNegativeInt = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None


class Source(Record):
    """The bytes a version is made of, as they lay when it was registered."""

    uri: str
    etag: str
    size: NonNegativeInt
    training: Training

    @property
    def identity(self) -> str:
        """What makes two registrations the same one: the job, and where its output lies."""
        return f"{self.training.arn}\n{self.uri}"


class SourceClaim(Record):
    """Written before any version on a source: versions on it, if there are any, are numbered above `after`."""

    identity: str
    after: NonNegativeInt


class Version(Record):
    """One version of a model. Never changes."""

    model: ModelName
    number: VersionNumber
    source: Source
    created_at: datetime
    created_by: str
    token: str
    """Tells this record from another writer's that is equal in all else, when an answer was lost."""

    @property
    def ref(self) -> VersionRef:
        """How the version is written: `fraud@7`."""
        return VersionRef(model=self.model, number=self.number)


class FileFact(Record):
    """One file, by its path and its bytes."""

    path: str
    size: NonNegativeInt
    sha256: Digest


class Format(StrEnum):
    """What a training output holds."""

    TORCHSCRIPT = "torchscript"
    SAVED_MODEL = "saved-model"


class Scan(Record):
    """What is inside a training output, read once from end to end and found harmless."""

    kind: ClassVar = "scan"

    source: Digest
    size: NonNegativeInt
    format: Format
    root: str
    """The SavedModel's folder, or the TorchScript file, inside the archive."""
    files: tuple[FileFact, ...]


class Artifact(Record):
    """The packaged model: a blob, and what is in it."""

    kind: ClassVar = "artifact"

    type: Literal["mar", "saved-model"]
    source: Digest
    blob: Digest
    size: PositiveInt
    files: tuple[FileFact, ...]
    """In the order in which they lie in the blob."""


class Image(Record):
    """The serving image, as it was pushed."""

    kind: ClassVar = "image"

    reference: ImageRef
    artifact: Digest
    base: Digest
    runtime: str
    size: PositiveInt
    """Bytes of manifest, config and layers together, as a node pulls them."""


_STATES = {Image.kind: "built", Artifact.kind: "packaged", Scan.kind: "scanned"}


def state_of(kinds: Collection[str]) -> str:
    """How far a version with facts of these kinds has come: registered, scanned, packaged or built."""
    return next((state for kind, state in _STATES.items() if kind in kinds), "registered")


class Facts(Record):
    """All that is known of a version beside its registration; None where it is not known yet."""

    scan: Scan | None = None
    artifact: Artifact | None = None
    image: Image | None = None

    @property
    def state(self) -> str:
        """How far the version has come: registered, scanned, packaged or built."""
        return state_of({kind for kind in _STATES if getattr(self, kind) is not None})
