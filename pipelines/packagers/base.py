"""What a packager is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from gitops.release import Runtime
from pipelines.archive import Limits, Member
from registry.facts import Artifact, FileFact, Scan, Signature
from registry.names import VersionRef
from registry.store import Reader


class Concern(StrEnum):
    """Why a file is in the image; each concern is a layer, so that what changes often moves alone."""

    WEIGHTS = "weights"
    CODE = "code"


class PackRequest(BaseModel):
    """What a packager needs to know beside the bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    scan: Scan
    created_at: datetime
    handler: str = ""
    """The name of a handler that the model server has itself, for a model without one of its own; "" for Sluice's."""
    limits: Limits = Limits()
    """For an archive inside of the training output."""


@dataclass
class Packed:
    """What a packager learns while it packs."""

    files: list[FileFact] = field(default_factory=list)
    """What is in the artifact, in its order."""
    signature: Signature | None = None


class Layout(BaseModel):
    """How an image lays an artifact out for its server, all of it below `gitops.runtimes.MODEL_ROOT`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    """Where the artifact's files go, relative to MODEL_ROOT."""
    config: Mapping[str, bytes]
    """Further files, by path relative to MODEL_ROOT."""
    env: Mapping[str, str] = {}


class Packager(Protocol):
    """One kind of artifact, for one model server."""

    @property
    def type(self) -> Literal["mar", "saved-model", "triton"]:
        """What the artifact is called."""

    @property
    def runtime(self) -> Runtime:
        """The model server that reads it."""

    def pack(self, members: Iterable[Member], request: PackRequest, packed: Packed) -> Iterator[bytes]:
        """The artifact's bytes, from the training output's; what is learnt on the way is in `packed` at the end.

        The bytes depend on the arguments alone, and memory is constant in their size.

        Raises:
            InvalidInput: the model is not one that the server can load, or its settings contradict each other.
            Refused: the server would not take it at all.
        """

    def unpack(self, reader: Reader, artifact: Artifact, wanted: Collection[str] | None = None) -> Iterator[Member]:
        """The artifact's files, in its order, each verified against the sha256 in `artifact` when it is used up.

        Where `wanted` is given, those of these paths alone; bytes of the others are not read.

        Raises:
            Refused: the bytes are not what `artifact` says.
        """

    def concern(self, path: str) -> Concern:
        """Which layer a file of the artifact belongs in."""

    def layout(self, ref: VersionRef, artifact: Artifact) -> Layout:
        """How an image lays the artifact out."""
