"""Reading large S3 objects: in order with a resume after a dropped connection, or at any position."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from registry.aws import Answered, ask
from registry.errors import Conflict, Unavailable
from registry.store import CHUNK

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

P = ParamSpec("P")
T = TypeVar("T")

_RESUMES = 5
_READ_AHEAD = 4 * CHUNK
_AFTER_MOVE = CHUNK // 16
_SPAN = 8 * CHUNK
_AT_ONCE = 2


class _BrokeOff(Unavailable):
    """A body ended early, which the next request goes on from; unlike a request that nobody answers."""


class Head(NamedTuple):
    """What a HEAD request tells of an object."""

    size: int
    etag: str
    modified: datetime
    """UTC."""


def ask_s3(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`registry.aws.ask`, of S3."""
    return ask("S3", function, *args, **kwargs)


def head(s3: S3Client, bucket: str, key: str) -> Head | None:
    """What is known of an object, or None where there is none; one request."""
    try:
        answer = ask_s3(s3.head_object, Bucket=bucket, Key=key)
    except Answered as error:
        if error.status == 404:
            return None
        raise
    return Head(answer["ContentLength"], answer["ETag"], answer["LastModified"].astimezone(UTC))


def contents(
    s3: S3Client, bucket: str, prefix: str, *, after: str = "", limit: int | None = None
) -> Iterator[ObjectTypeDef]:
    """What a listing tells of objects, in order of keys; one request for each thousand."""
    given = 0
    while limit is None or given < limit:
        size = 1000 if limit is None else min(1000, limit - given)
        page = ask_s3(s3.list_objects_v2, Bucket=bucket, Prefix=prefix, StartAfter=after, MaxKeys=size)
        for item in page.get("Contents", []):
            after = item["Key"]
            given += 1
            yield item
        if not page["IsTruncated"]:
            return


def get_chunks(s3: S3Client, bucket: str, key: str, found: Head) -> Iterator[bytes]:
    """The object's bytes in order, 1 MiB at a time; goes on where it was after a dropped connection.

    A large object comes over two connections, 8 MiB at a time, since S3 gives some 90 MB/s over one (S3 user guide,
    "Use byte-range fetches"). Closed early, it waits until nothing is on its way any more.

    Raises:
        Conflict: the object was replaced meanwhile.
        Unavailable: it dropped the connection again and again.
    """
    if found.size <= _SPAN:
        yield from _span(s3, bucket, key, found, 0)
        return
    workers = ThreadPoolExecutor(_AT_ONCE, "download")
    starts = iter(range(0, found.size, _SPAN))

    def submit(start: int) -> Future[list[bytes]]:
        return workers.submit(lambda: list(_span(s3, bucket, key, found, start)))

    try:
        coming = deque(submit(start) for start in islice(starts, _AT_ONCE))
        while coming:
            chunks = coming.popleft().result()
            coming.extend(submit(start) for start in islice(starts, 1))
            chunks.reverse()
            while chunks:
                yield chunks.pop()
    finally:
        workers.shutdown(cancel_futures=True)


def _span(s3: S3Client, bucket: str, key: str, found: Head, start: int) -> Iterator[bytes]:
    end, resumes = min(start + _SPAN, found.size), 0
    while start < end:
        before = start
        try:
            for chunk in _one_get(s3, bucket, key, found, start, end):
                start += len(chunk)
                yield chunk
        except _BrokeOff:
            resumes = resumes + 1 if start == before else 1
            if resumes > _RESUMES:
                raise


def _one_get(s3: S3Client, bucket: str, key: str, found: Head, start: int, end: int) -> Iterator[bytes]:
    from botocore.exceptions import BotoCoreError
    from urllib3.exceptions import HTTPError

    span = f"bytes={start}-{end - 1}"
    with closing(_asked(bucket, key, lambda: _range(s3, bucket, key, found, span))) as body:
        try:
            while chunk := body.read(CHUNK):
                yield chunk
        except (BotoCoreError, HTTPError, OSError) as error:
            raise _BrokeOff(f"S3 broke off while s3://{bucket}/{key} was read: try again.") from error


def _range(s3: S3Client, bucket: str, key: str, found: Head, span: str) -> StreamingBody:
    # never `with body`: what that gives is the bare connection, which takes a short answer for a whole one
    return s3.get_object(Bucket=bucket, Key=key, IfMatch=found.etag, Range=span)["Body"]


def _asked(bucket: str, key: str, function: Callable[[], T]) -> T:
    """As `ask_s3`, for reading an object that must stay what it was."""
    try:
        return ask_s3(function)
    except Answered as error:
        if error.status in (404, 412):
            raise Conflict(f"s3://{bucket}/{key} was replaced while it was read: start again.") from error
        raise


class RangeReader(io.RawIOBase):
    """A read-only file over ranged GETs; holds 8 MiB, whatever the object's size.

    Read on from where a window ended, it fetches the next one meanwhile. Where it was moved, it reads little ahead,
    since an archive's headers are looked at one after the other. Close it, so that nothing is left under way.
    """

    def __init__(self, s3: S3Client, bucket: str, key: str, found: Head) -> None:
        super().__init__()
        self._s3, self._bucket, self._key, self._found = s3, bucket, key, found
        self._position = 0
        self._window_start, self._window = 0, b""
        self._worker = ThreadPoolExecutor(1, "window")
        self._next: tuple[int, Future[bytes]] | None = None

    def close(self) -> None:
        """Wait until nothing is under way."""
        self._worker.shutdown(cancel_futures=True)
        super().close()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move without a request; as in io.BytesIO, a relative move stops at the start.

        Raises:
            ValueError: a negative absolute position, or an unknown `whence`.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._found.size}.get(whence)
        if base is None or (whence == io.SEEK_SET and offset < 0):
            raise ValueError(f"cannot seek to {offset} from {whence}")
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes from here; one request for each 4 MiB that was not read yet, and one more after a move."""
        end = self._found.size if size < 0 else min(self._position + size, self._found.size)
        pieces = []
        while self._position < end:
            offset = self._position - self._window_start
            if not 0 <= offset < len(self._window):
                self._fill(end - self._position)
                offset = 0
            piece = self._window[offset : offset + end - self._position]
            pieces.append(piece)
            self._position += len(piece)
        return b"".join(pieces)

    def _fill(self, wanted: int) -> None:
        start, goes_on = self._position, 0 < self._position == self._window_start + len(self._window)
        size = _READ_AHEAD if goes_on or not start else min(max(wanted, _AFTER_MOVE), _READ_AHEAD)
        coming, self._next = self._next, None
        self._window = coming[1].result() if coming is not None and coming[0] == start else self._fetch(start, size)
        self._window_start = start
        after = start + len(self._window)
        if goes_on and after < self._found.size:
            self._next = after, self._worker.submit(self._fetch, after, _READ_AHEAD)

    def _fetch(self, start: int, size: int) -> bytes:
        last = min(start + size, self._found.size) - 1

        def fetch() -> bytes:
            with closing(_range(self._s3, self._bucket, self._key, self._found, f"bytes={start}-{last}")) as body:
                return body.read()

        return _asked(self._bucket, self._key, fetch)
