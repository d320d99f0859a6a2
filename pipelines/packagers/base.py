"""What a packager is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from gitops.release import Runtime
from pipelines.archive import Member
from registry.facts import Artifact, FileFact, Scan
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


class Layout(BaseModel):
    """How an image lays an artifact out for its server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    """Where the artifact's files go, without a leading slash."""
    config: Mapping[str, bytes]
    """Further files, by path without a leading slash."""
    entrypoint: tuple[str, ...]
    user: int
    """The numeric user that the server runs as and that owns the files."""
    working_dir: str


class Packager(Protocol):
    """One kind of artifact, for one model server."""

    @property
    def type(self) -> Literal["mar", "saved-model"]:
        """What the artifact is called."""

    @property
    def runtime(self) -> Runtime:
        """The model server that reads it."""

    def pack(self, members: Iterable[Member], request: PackRequest, files: list[FileFact]) -> Iterator[bytes]:
        """The artifact's bytes, from the training output's; what is in it is added to `files` in its order.

        The bytes depend on the arguments alone, and memory is constant in their size.
        """

    def unpack(self, reader: Reader, artifact: Artifact) -> Iterator[Member]:
        """The artifact's files, in its order, each verified against the sha256 in `artifact` when it is used up.

        Raises:
            Refused: the bytes are not what `artifact` says.
        """

    def concern(self, path: str) -> Concern:
        """Which layer a file of the artifact belongs in."""

    def layout(self, ref: VersionRef) -> Layout:
        """How the image lays the artifact out."""
