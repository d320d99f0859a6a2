"""The store in S3, and in anything that speaks it; beside it only the other s3… modules know S3's requests.

Conditional writes are PutObject with If-None-Match and If-Match (S3 user guide, "Conditional requests"). Large bytes
go up under a name of their own and are copied to their digest, since not every S3 decides a condition on
CompleteMultipartUpload.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING
from uuid import uuid4

from registry import keys
from registry.aws import Answered, Clients
from registry.errors import Conflict, NotFound, Refused, SluiceError
from registry.names import S3Uri
from registry.progress import Progress
from registry.s3copy import complete, copy, uploading
from registry.s3objects import Objects, is_plain
from registry.s3read import RangeReader, ask_s3, contents, get_chunks, head
from registry.s3upload import parts_of, send_parts
from registry.store import AlreadyExists, Blob, Changed, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_TURNS = 3


class S3Store:
    """Small objects in one bucket."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self.bucket = bucket
        self._s3: S3Client = clients.s3()
        self._objects = Objects(clients, bucket)

    def get(self, key: str) -> Stored | None:
        """The object, or None; one request."""
        if not is_plain(key):
            return None  # no record has such a key
        try:
            return self._objects.get(key)
        except Answered as error:
            if error.code in _MISSING:
                return None
            raise

    def create(self, key: str, data: bytes) -> str:
        """Write a new object; one request, two where the key is taken.

        Raises:
            AlreadyExists: the key holds other bytes.
            Conflict: the key is taken, and gone when it is read, again and again.
        """
        for _ in range(_TURNS):
            try:
                return self._objects.put_new(key, data)
            except Answered as error:
                if error.status != 412:
                    raise
            stored = self.get(key)
            if stored is not None and stored.data == data:
                return stored.etag
            if stored is not None:
                raise AlreadyExists(key, stored)
        raise Conflict(f"{key} comes and goes: find out who else writes to the bucket {self.bucket}.")

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Write over the object that has this etag; one request, two where it was changed.

        Raises:
            Changed: the object has another etag, or is gone.
        """
        try:
            return self._objects.put_over(key, data, etag)
        except Answered as error:
            # a key that is gone is 412 on some stores and 404 on others
            if error.status != 412 and error.code not in _MISSING:
                raise
        stored = self.get(key)
        if stored is not None and stored.data == data:
            return stored.etag
        raise Changed(key)

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[str]:
        """Keys in order; one request for each thousand."""
        for item in contents(self._s3, self.bucket, prefix, after=after, limit=limit):
            yield item["Key"]

    def folders(self, prefix: str) -> Iterator[str]:
        """The distinct next parts of keys; one request for each thousand."""
        token: dict[str, str] = {}
        while True:
            page = ask_s3(
                self._s3.list_objects_v2,
                Bucket=self.bucket,
                Prefix=prefix,
                Delimiter="/",
                **token,  # type: ignore[arg-type]  # only ContinuationToken, which the stubs want by name
            )
            for item in page.get("CommonPrefixes", []):
                yield item["Prefix"]
            if not page["IsTruncated"]:
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}


class S3Blobs:
    """Large bytes in one bucket, each under `blobs/sha256/<hex>`."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self.bucket = bucket
        self._s3: S3Client = clients.s3()

    def put(self, chunks: Iterable[bytes], *, what: str, progress: Progress) -> Blob:
        """Store the bytes: one request where they fit a part, else a multipart upload and a server-side copy."""
        parts = parts_of(chunks)
        begin = list(islice(parts, 2))
        if len(begin) < 2:
            return self._put_small(bytes(begin[0]) if begin else b"", what, progress)
        staging = keys.upload(uuid4().hex)
        try:
            blob = self._put_parts(staging, _drained(begin, parts), what, progress)
            if self.size(blob.digest) is None:
                self._copy(staging, keys.blob(blob.digest))
        finally:
            with suppress(SluiceError):  # what stays of it is harmless, see keys.upload
                ask_s3(self._s3.delete_object, Bucket=self.bucket, Key=staging)
        return blob

    def _put_small(self, data: bytes, what: str, progress: Progress) -> Blob:
        blob = Blob("sha256:" + hashlib.sha256(data).hexdigest(), len(data))
        if self.size(blob.digest) is None:
            # two writers of one digest write the same bytes, so no condition is needed
            ask_s3(self._s3.put_object, Bucket=self.bucket, Key=keys.blob(blob.digest), Body=data)
        progress.bytes(what, blob.size, blob.size)
        return blob

    def _put_parts(self, key: str, parts: Iterable[bytearray], what: str, progress: Progress) -> Blob:
        digest, size = hashlib.sha256(), 0
        done: list[CompletedPartTypeDef] = []
        place = self._place(key)
        with (
            uploading(self._s3, place) as upload,
            closing(send_parts(self._s3, place, upload, _hashing(parts, digest))) as sent,
        ):
            for length, part in sent:
                done.append(part)
                size += length
                progress.bytes(what, size, None)
            complete(self._s3, place, upload, done, size)
        progress.bytes(what, size, size)
        return Blob("sha256:" + digest.hexdigest(), size)

    def _copy(self, source: str, target: str) -> None:
        found = head(self._s3, self.bucket, source)
        if found is None:
            raise Conflict(f"{source} was removed while it was stored: start again.")
        copy(self._s3, self._place(source), found, self._place(target))

    def _place(self, key: str) -> S3Uri:
        return S3Uri(bucket=self.bucket, key=key)

    def size(self, digest: str) -> int | None:
        """How many bytes the blob has, or None; one request."""
        found = head(self._s3, self.bucket, keys.blob(digest))
        return None if found is None else found.size

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The blob from its first byte to its last, verified.

        Raises:
            NotFound: there is no such blob.
            Refused: the bytes are not the ones the digest names, told after the last chunk.
        """
        found = head(self._s3, self.bucket, keys.blob(digest))
        if found is None:
            raise NotFound(f"The bucket has no blob {digest}: package the version again.")
        seen = hashlib.sha256()
        for chunk in get_chunks(self._s3, self.bucket, keys.blob(digest), found):
            seen.update(chunk)
            yield chunk
        if "sha256:" + seen.hexdigest() != digest:
            raise Refused(f"Blob {digest} holds other bytes than its name says: restore it from a good copy.")

    @contextmanager
    def open(self, digest: str) -> Iterator[RangeReader]:
        """The blob at any position, by ranged reads.

        Raises:
            NotFound: there is no such blob.
        """
        found = head(self._s3, self.bucket, keys.blob(digest))
        if found is None:
            raise NotFound(f"The bucket has no blob {digest}: package the version again.")
        with RangeReader(self._s3, self.bucket, keys.blob(digest), found) as reader:
            yield reader


def _hashing(parts: Iterable[bytearray], digest: hashlib._Hash) -> Iterator[bytearray]:
    for part in parts:
        digest.update(part)
        yield part


def _drained(begin: list[bytearray], rest: Iterator[bytearray]) -> Iterator[bytearray]:
    """`begin`, each dropped as it is given, so that it is in memory no longer than it must; then `rest`."""
    while begin:
        yield begin.pop(0)
    yield from rest
