"""All large bytes of a bucket by their keys, as garbage collection sees them, in S3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

from cachetools import TTLCache

from registry.aws import Answered, Clients
from registry.errors import Conflict, InvalidInput, NotFound
from registry.names import S3Uri
from registry.s3copy import PART, copy
from registry.s3objects import Objects
from registry.s3read import ask_s3, contents, head
from registry.store import SEEN, Bytes, StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

_AT_ONCE = 1000
_TURNS = 3
_SEEN_MAX = 10_000


class S3Bytes:
    """The objects of one bucket."""

    def __init__(self, clients: Clients, bucket: str, *, part: int = PART) -> None:
        self.bucket = bucket
        self._s3: S3Client = clients.s3()
        self._part = part
        self._objects = Objects(clients, bucket)
        self._seen: TTLCache[str, StoredObject] = TTLCache(_SEEN_MAX, SEEN.total_seconds())
        self._lock = Lock()

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """The objects whose keys begin with `prefix`, in `Store.list`'s order; one request for each thousand."""
        for item in contents(self._s3, self.bucket, prefix):
            yield StoredObject(item["Key"], item["Size"], item["LastModified"].astimezone(UTC))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; what is not there is no error. One request for each thousand.

        Raises:
            Refused: the credentials do not allow it.
        """
        for start in range(0, len(keys), _AT_ONCE):
            ask_s3(self._delete, keys[start : start + _AT_ONCE])

    def _delete(self, keys: Sequence[str]) -> None:
        from botocore.exceptions import ClientError

        wanted: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys]
        answer = self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": wanted, "Quiet": True})
        for error in answer.get("Errors", []):
            # one key's failure comes inside of a 200, and is to be told and tried again like any other
            raise ClientError(
                {"Error": {"Code": error.get("Code", ""), "Message": error.get("Message", "")}}, "DeleteObjects"
            )

    def modified(self, key: str) -> datetime | None:
        """When the object was written, in UTC, or None where there is none; one request."""
        found = head(self._s3, self.bucket, key)
        return None if found is None else found.modified

    def seen(self, key: str) -> StoredObject | None:
        """The object as it is, or as it was at most `SEEN` ago, or None; one request, none where it was just seen."""
        with self._lock:
            known = self._seen.get(key)
        if known is None:
            try:
                known = self._objects.head(key)
            except Answered as error:
                if error.status == 404:
                    return None
                raise
            with self._lock:
                self._seen[key] = known
        return known

    def bring(self, other: Bytes, key: str) -> None:
        """Copy the object under a key from another bucket, inside S3; two requests, more where it is large.

        Raises:
            NotFound: it is not there.
            InvalidInput: the other is no bucket in S3.
        """
        if not isinstance(other, S3Bytes):
            raise InvalidInput("Bytes move between buckets of one S3 only: give another bucket.")
        found = head(self._s3, other.bucket, key)
        if found is None:
            raise NotFound(f"{key} is gone from the bucket {other.bucket}: restore it from a copy.")
        source, target = S3Uri(bucket=other.bucket, key=key), S3Uri(bucket=self.bucket, key=key)
        copy(self._s3, source, found, target, part=self._part)

    def touch(self, key: str) -> None:
        """Make the object new by copying it onto itself; two requests, more where it is large.

        Raises:
            NotFound: there is no such object.
            Conflict: it is written over again and again.
        """
        place = S3Uri(bucket=self.bucket, key=key)
        for _ in range(_TURNS):
            found = head(self._s3, self.bucket, key)
            if found is None:
                raise NotFound(f"{key} is gone from the bucket: store it again.")
            try:
                copy(self._s3, place, found, place, part=self._part)
            except Answered as error:
                if error.status not in (404, 412):  # else somebody else wrote or removed it meanwhile
                    raise
            else:
                return
        raise Conflict(f"{key} comes and goes: find out who else writes to the bucket {self.bucket}.")
