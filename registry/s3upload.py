"""Sending large bytes to S3 in parts, several at a time (S3 user guide, "Multipart upload")."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from registry.names import S3Uri
from registry.s3read import ask_s3
from registry.store import CHUNK

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 8 * CHUNK
_SMALL_PARTS = 5_000
_LARGE_PART = 4 * PART
"""Of an upload's parts, of which there may be 10,000, those beyond the first 5,000: 195 GiB fit in all."""
_AT_ONCE = 3


def parts_of(chunks: Iterable[bytes]) -> Iterator[bytearray]:
    """The same bytes in parts of 8 MiB, those after 39 GiB of 32 MiB, the last one shorter."""
    number, filled, part = 1, 0, bytearray(PART)
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            taken = view[: len(part) - filled]
            part[filled : filled + len(taken)] = taken
            view, filled = view[len(taken) :], filled + len(taken)
            if filled == len(part):
                yield part
                number, filled = number + 1, 0
                part = bytearray(PART if number <= _SMALL_PARTS else _LARGE_PART)
    if filled:
        del part[filled:]
        yield part


def send_parts(
    s3: S3Client, target: S3Uri, upload: str, parts: Iterable[bytearray]
) -> Generator[tuple[int, CompletedPartTypeDef], None, None]:
    """Send the parts, three at a time while the next is made; gives size and name of each, in order, once it is there.

    Where it ends early nothing is on its way any more, so that the upload can be aborted.
    """

    def one(number: int, part: bytearray) -> tuple[int, CompletedPartTypeDef]:
        answer = ask_s3(
            s3.upload_part,
            Bucket=target.bucket,
            Key=target.key,
            UploadId=upload,
            PartNumber=number,
            Body=part,  # type: ignore[arg-type]  # boto3 takes it, and its stubs do not say so
        )
        return len(part), {"PartNumber": number, "ETag": answer["ETag"]}

    workers = ThreadPoolExecutor(_AT_ONCE, "upload")
    sending: deque[Future[tuple[int, CompletedPartTypeDef]]] = deque()
    try:
        for number, part in enumerate(parts, start=1):
            if len(sending) == _AT_ONCE:
                yield sending.popleft().result()
            sending.append(workers.submit(one, number, part))
        while sending:
            yield sending.popleft().result()
    finally:
        workers.shutdown(cancel_futures=True)
