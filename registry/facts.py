"""What is known of a model version. Each class is one kind of JSON object in the bucket.

The version itself is written once, at registration. What is learnt later, the facts, are objects beside it, each
written once too; the state of a version is which of them exist.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, NonNegativeInt, PositiveInt

from registry.limits import INPUTS_MAX, TENSORS_MAX, Actor, Description, Line, Metrics, Parameters, Reason, Tags, Token
from registry.names import Digest, ImageRef, ModelName, VersionNumber, VersionRef

ENTRY_MAX = 64
"""Versions that one entry of a log holds at most."""


class Record(BaseModel):
    """An object in the bucket."""

    # a metric may be NaN, which JSON has no word for: "NaN" is read back as the number, null would not be
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def to_bytes(self) -> bytes:
        """The record as it is stored: indented JSON in order of declaration, so equal records are equal bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"


class Channel(Record):
    """One input of a training job."""

    name: Line
    uri: Line


class Training(Record):
    """What SageMaker tells of a finished training job (API reference, DescribeTrainingJob and ListTags)."""

    job: Line
    arn: Line
    image: Line
    hyperparameters: Parameters = {}
    metrics: Metrics = {}
    inputs: Annotated[tuple[Channel, ...], Field(max_length=INPUTS_MAX)] = ()
    instance_type: Line = ""
    instance_count: NonNegativeInt = 0
    output: Line = ""
    """The output path that the job was given; what it wrote there is the source's `uri`."""
    role: Line = ""
    tags: Tags = {}
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    billable_seconds: NonNegativeInt | None = None


class SourceKind(StrEnum):
    """Where a version comes from."""

    TRAINING_JOB = "training-job"
    MODEL_PACKAGE = "model-package"
    S3 = "s3"
    UPLOAD = "upload"
    MLFLOW = "mlflow"
    NONE = "none"
    """A number that another registry gave to what it deleted later: taken, so that the others keep theirs."""


class Source(Record):
    """The bytes a version is made of, as they lay when it was registered."""

    kind: SourceKind = SourceKind.TRAINING_JOB
    uri: Line
    etag: Line = ""
    size: NonNegativeInt
    digest: Digest | None = None
    """Known before the first scan only where Sluice itself stored the bytes."""
    training: Training | None = None
    package: Line = ""
    """ARN of the SageMaker model package."""
    parameters: Parameters = {}
    """What another registry knew as parameters of the run; a training job's are its hyperparameters."""

    @property
    def identity(self) -> str:
        """What makes two registrations the same one.

        A training job or a model package with where its output lies; an S3 object with its etag, since it may be
        written over; an upload's digest; the address of a version in another registry.
        """
        if self.kind is SourceKind.TRAINING_JOB and self.training is not None:
            return f"{self.training.arn}\n{self.uri}"
        if self.kind is SourceKind.MODEL_PACKAGE:
            return f"{self.package}\n{self.uri}"
        if self.kind is SourceKind.S3:
            return f"{self.uri}\n{self.etag}"
        return f"{self.kind.value}\n{self.uri}"

    @property
    def hyperparameters(self) -> Mapping[str, str]:
        """What the model was trained with, wherever that is known from."""
        return self.training.hyperparameters if self.training else self.parameters

    @property
    def name(self) -> str:
        """The source in a few characters, for a table: a job's name, or an address."""
        return self.training.job if self.training else self.package or self.uri


class SourceClaim(Record):
    """Written before any version on a source: versions on it, if there are any, are numbered above `after`."""

    identity: str
    after: NonNegativeInt


class Version(Record):
    """One version of a model. Never changes."""

    model: ModelName
    number: VersionNumber
    source: Source
    output: str = ""
    """The key of the registry's own copy of the training output; empty where there are no bytes."""
    metrics: Metrics = {}
    """The job's final metrics, and over them what the caller gave."""
    tags: Tags = {}
    description: Description = ""
    git_commit: Line = ""
    """The commit of the training code, where the job or the caller told it."""
    created_at: datetime
    created_by: Actor

    @property
    def ref(self) -> VersionRef:
        """How the version is written: `fraud@7`."""
        return VersionRef(model=self.model, number=self.number)


class Entry(Record):
    """One object of a model's log: one version, or several that were registered at the same moment, numbers rising."""

    token: Token
    """Tells this entry from another writer's that is equal in all else, when an answer was lost."""
    versions: Annotated[tuple[Version, ...], Field(min_length=1, max_length=ENTRY_MAX)]

    @property
    def last(self) -> int:
        """The highest number in it."""
        return self.versions[-1].number


class FileFact(Record):
    """One file, by its path and its bytes."""

    path: str
    size: NonNegativeInt
    sha256: Digest


class Format(StrEnum):
    """What a training output holds."""

    TORCHSCRIPT = "torchscript"
    EAGER = "eager"
    """PyTorch weights, and Python code that makes the model of them."""
    MAR = "mar"
    """A `.mar` that was packed before."""
    SAVED_MODEL = "saved-model"
    ONNX = "onnx"
    TRITON = "triton"
    """A Triton model repository."""


class Severity(StrEnum):
    """How bad a finding is, from mere news to what runs somebody's code when it is loaded."""

    NOTE = "note"
    WARNING = "warning"
    DANGER = "danger"


SEVERITIES = tuple(Severity)
"""The least first."""


class Finding(Record):
    """Something in a training output that who decides on it should know."""

    path: str
    """In the archive; inside a file that is an archive itself, `model.pt!archive/data.pkl`."""
    rule: Token
    """What kind of finding it is: `pickle-global`, `keras-lambda`, `code` …"""
    severity: Severity
    detail: Line = ""


class Scan(Record):
    """What is inside a training output, read once from end to end."""

    kind: ClassVar = "scan"

    source: Digest
    size: NonNegativeInt
    format: Format
    root: str
    """The SavedModel's or model repository's folder, or the model's or weights' file, inside the archive."""
    files: tuple[FileFact, ...]
    findings: tuple[Finding, ...] = ()
    scanner: Line = ""
    """What looked for findings, with its version; empty where nothing did."""

    @property
    def worst(self) -> Severity | None:
        """The severity of the worst finding, None where there are none."""
        return max((finding.severity for finding in self.findings), key=SEVERITIES.index, default=None)


class DType(StrEnum):
    """The type of a tensor's elements, as ONNX, TensorFlow and PyTorch agree on it."""

    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    STRING = "string"


class Tensor(Record):
    """One input or output of a model."""

    name: Line
    dtype: DType
    shape: tuple[NonNegativeInt | None, ...] | None
    """Elements along each axis, None along one that may have any number of them; None where even the rank is open."""


class Signature(Record):
    """What a model takes and gives, and a request that it answers."""

    kind: ClassVar = "signature"

    inputs: Annotated[tuple[Tensor, ...], Field(max_length=TENSORS_MAX)] = ()
    outputs: Annotated[tuple[Tensor, ...], Field(max_length=TENSORS_MAX)] = ()
    sample: JsonValue = None
    """The body of a request as the model's server takes it, null where none is known."""
    told_by: Line
    """Where it is from: a file of the training output, or the model itself."""


class Artifact(Record):
    """The packaged model: a blob, and what is in it."""

    kind: ClassVar = "artifact"

    type: Literal["mar", "saved-model", "triton"]
    source: Digest
    blob: Digest
    size: PositiveInt
    files: tuple[FileFact, ...]
    """In the order in which they lie in the blob."""


class Delivery(StrEnum):
    """How a model comes to its server."""

    IMAGE = "image"
    """In one image with it."""
    VOLUME = "volume"
    """In an image of its own, which Kubernetes mounts into the server's pod."""


class Image(Record):
    """The image of a version, as it was pushed."""

    kind: ClassVar = "image"

    reference: ImageRef
    artifact: Digest
    base: Digest
    runtime: str
    size: PositiveInt
    """Bytes of manifest, config and layers together, as a node pulls them."""
    delivery: Delivery = Delivery.IMAGE
    server: ImageRef | None = None
    """The model server's image that mounts this one; where it is delivered as a volume only."""
    platform: Line = "linux/amd64"


class Smoke(Record):
    """One request to a server that runs the image, and what came of it."""

    kind: ClassVar = "smoke"

    image: ImageRef
    passed: bool
    detail: Reason = ""
    at: datetime
    by: Actor


class SignOff(Record):
    """A person vouches for the version: for a release board, an audit, a regulator."""

    kind: ClassVar = "sign-off"

    note: Reason = ""
    at: datetime
    by: Actor


class Tombstone(Record):
    """The version was deleted: its number stays taken, its bytes are collected."""

    kind: ClassVar = "deleted"

    reason: Reason = ""
    at: datetime
    by: Actor


FACTS: Mapping[str, type[Scan | Signature | Artifact | Image | Smoke | SignOff]] = {
    fact.kind: fact for fact in (Scan, Signature, Artifact, Image, Smoke, SignOff)
}
"""What may be recorded of a version, by its name in keys and addresses."""

_STATES = {Tombstone.kind: "deleted", Image.kind: "built", Artifact.kind: "packaged", Scan.kind: "scanned"}


def state_of(kinds: Collection[str]) -> str:
    """How far a version with facts of these kinds has come: registered, scanned, packaged, built or deleted."""
    return next((state for kind, state in _STATES.items() if kind in kinds), "registered")


class Facts(Record):
    """All that is known of a version beside its registration; None where it is not known yet."""

    scan: Scan | None = None
    signature: Signature | None = None
    artifact: Artifact | None = None
    image: Image | None = None
    smoke: Smoke | None = None
    sign_off: SignOff | None = None
    deleted: Tombstone | None = None

    @property
    def state(self) -> str:
        """How far the version has come: registered, scanned, packaged, built or deleted."""
        return state_of({kind for kind in _STATES if getattr(self, kind.replace("-", "_")) is not None})
