"""Everything that a registry keeps, taken together: one bucket seen as records, as copies, as blobs and as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.outputs import Outputs
from registry.store import Blobs, Bytes, Store

if TYPE_CHECKING:
    from registry.aws import Clients


@dataclass(frozen=True)
class Storage:
    """The four views of one bucket."""

    store: Store
    outputs: Outputs
    blobs: Blobs
    bytes: Bytes

    @classmethod
    def s3(cls, clients: Clients, bucket: str) -> Storage:
        """A bucket in S3."""
        from registry.outputs import S3Outputs
        from registry.s3 import S3Blobs, S3Store
        from registry.s3bytes import S3Bytes

        place = S3Bytes(clients, bucket)
        return cls(S3Store(clients, bucket), S3Outputs(clients, bucket, place=place), S3Blobs(clients, bucket), place)

    @classmethod
    def memory(cls, store: Store | None = None) -> Storage:
        """A dictionary, for tests and for trying things out; a source there has as many zeros as it says bytes."""
        from registry.memory import MemoryBlobs, MemoryBytes, MemoryOutputs, MemoryStore

        place = MemoryBytes()
        return cls(store or MemoryStore(), MemoryOutputs(place), MemoryBlobs(place), place)
