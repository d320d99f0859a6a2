"""The registry's own copies of training outputs, so that a version outlives what it was registered from.

Each copy has a key of its own, which only one version names: whoever gives up before the version is written leaves
a copy that garbage collection finds. Bytes that Sluice itself stored, an upload's, are a blob already, and stay one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from registry import keys
from registry.aws import Answered, Clients
from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError
from registry.facts import Source, SourceKind, Version
from registry.names import S3Uri
from registry.s3bytes import S3Bytes
from registry.s3copy import PART, copy
from registry.s3read import Head, get_chunks, head
from registry.store import Bytes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Outputs(Protocol):
    """The registry's own copies."""

    def own(self, source: Source) -> str:
        """Copy what a source names and give the copy's key, a fresh one each time; "" where there are no bytes.

        Raises:
            NotFound: the source is gone.
            Conflict: it was replaced after it was found.
            InvalidInput: it is a blob that is not the one the source names.
        """

    def chunks(self, version: Version) -> Iterator[bytes]:
        """A version's bytes from the first to the last, of just the size and digest that were registered.

        Raises:
            NotFound: the version has no bytes, or they are gone.
            Refused: they are others; told after the last chunk where only the digest tells.
        """

    def size(self, key: str) -> int | None:
        """How many bytes a copy has, or None where there is none."""


class S3Outputs:
    """Copies in one bucket, made inside S3 from wherever in S3 the source lies.

    `part` is the size up to which a copy is one request, see `registry.s3copy.copy`.
    """

    def __init__(
        self,
        clients: Clients,
        bucket: str,
        *,
        place: Bytes | None = None,
        part: int = PART,
        token: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self.bucket = bucket
        self._s3: S3Client = clients.s3()
        self._bytes = place or S3Bytes(clients, bucket)
        self._part = part
        self._token = token

    def own(self, source: Source) -> str:
        """Copy what a source names and give the copy's key; one request up to `part` bytes.

        Raises:
            NotFound: the source is gone.
            Conflict: it was replaced after it was found.
            InvalidInput: it is a blob that is not the one the source names.
        """
        if source.kind is SourceKind.NONE:
            return ""
        digest = blob_of(source)
        if digest is not None:
            return own_blob(source, digest, self._bytes)
        key = keys.output(self._token())
        uri = S3Uri.parse(source.uri)
        found = Head(source.size, source.etag, datetime.now(UTC))
        try:
            copy(self._s3, uri, found, S3Uri(bucket=self.bucket, key=key), part=self._part)
        except Answered as error:
            if error.status == 404:
                raise gone(source) from error
            if error.status == 412:
                raise replaced(source) from error
            raise
        except NotFound as error:  # of two buckets; a HEAD knows which
            if head(self._s3, uri.bucket, uri.key) is None:
                raise gone(source) from error
            raise
        return key

    def chunks(self, version: Version) -> Iterator[bytes]:
        """A version's bytes, 1 MiB at a time; goes on where it was after a dropped connection.

        Raises:
            NotFound: the version has no bytes, or they are gone.
            Refused: they are others; told after the last chunk where only the digest tells.
            Conflict: they were replaced meanwhile.
        """
        found = head(self._s3, self.bucket, version.output) if version.output else None
        check_size(version, None if found is None else found.size)
        assert found is not None  # noqa: S101  # else it was refused
        yield from verified(version, get_chunks(self._s3, self.bucket, version.output, found))

    def size(self, key: str) -> int | None:
        """How many bytes a copy has, or None; one request."""
        found = head(self._s3, self.bucket, key)
        return None if found is None else found.size


def blob_of(source: Source) -> str | None:
    """The digest of a source that is a blob already, or None."""
    if source.digest is None and source.kind not in (SourceKind.UPLOAD, SourceKind.MLFLOW):
        return None
    return source.digest or source.uri


def own_blob(source: Source, digest: str, place: Bytes) -> str:
    """The key of a blob, at most one request. It may be old: see `registry.collect.secure`.

    Raises:
        NotFound: there is no such blob.
        InvalidInput: it has another size than the source says.
    """
    there = place.seen(keys.blob(digest))
    if there is None:
        raise NotFound(f"The bucket has no blob {digest}: upload it again.")
    if there.size != source.size:
        raise InvalidInput(
            f"Blob {digest} has {there.size} bytes, not {source.size}: correct the size, or upload it again."
        )
    return keys.blob(digest)


def gone(source: Source) -> SluiceError:
    """Says that a source is not there."""
    return NotFound(f"The training output {source.uri} is gone: restore it, or train again.")


def replaced(source: Source) -> SluiceError:
    """Says that a source is another than it was."""
    return Conflict(f"The training output {source.uri} was replaced while it was registered: register it again.")


def check_size(version: Version, size: int | None) -> None:
    """Compare the size of a version's copy, None where there is none, with what was registered.

    Raises:
        NotFound: there is none.
        Refused: it has another size.
    """
    if not version.output:
        raise NotFound(f"{version.ref} has no bytes, only a number: register the model anew.")
    if size is None:
        raise NotFound(f"The registry's copy of {version.ref} ({version.output}) is gone: restore it from a backup.")
    if size != version.source.size:
        raise Refused(
            f"The registry's copy of {version.ref} ({version.output}) has {size} bytes where {version.source.size} were"
            " registered: restore it from a backup."
        )


def verified(version: Version, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, refused at their end where they are not the ones whose digest was registered."""
    if version.source.digest is None:
        yield from chunks
        return
    seen = hashlib.sha256()
    for chunk in chunks:
        seen.update(chunk)
        yield chunk
    if version.source.digest != "sha256:" + seen.hexdigest():
        raise Refused(f"The registry's copy of {version.ref} ({version.output}) holds other bytes: restore it.")
