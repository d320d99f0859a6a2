"""Copies inside S3, whose bytes never come here: one request, or parts side by side where the object is large.

CopyObject takes at most 5 GiB, a part too, and an upload has at most 10,000 parts (S3 user guide, "Multipart upload
limits"). Neither metadata nor tags are copied, so that no permission for tags is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from registry.aws import Answered
from registry.errors import SluiceError
from registry.names import S3Uri
from registry.s3read import Head, ask_s3, head
from registry.store import CHUNK

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 512 * CHUNK
"""Bytes up to which a copy is one request, and of each part of a larger one: S3 copies a part in a few seconds."""
_PARTS_MAX = 10_000
_AT_ONCE = 8


def copy(s3: S3Client, source: S3Uri, found: Head, target: S3Uri, *, part: int = PART) -> None:
    """Copy the object that was found at `source`; done again, it ends in the same.

    One request up to `part` bytes, above that one for each part and two more. S3 demands parts of 5 MiB at least.

    Raises:
        Answered: with status 404 the source is gone, with 412 it has another etag.
    """
    if found.size <= part:
        ask_s3(
            s3.copy_object,
            Bucket=target.bucket,
            Key=target.key,
            CopySource={"Bucket": source.bucket, "Key": source.key},
            CopySourceIfMatch=found.etag,
            MetadataDirective="REPLACE",
            TaggingDirective="REPLACE",
        )
        return
    with uploading(s3, target) as upload:
        parts = _copy_parts(s3, source, found, target, upload, max(part, -(-found.size // _PARTS_MAX)))
        complete(s3, target, upload, parts, found.size)


def _copy_parts(
    s3: S3Client, source: S3Uri, found: Head, target: S3Uri, upload: str, part: int
) -> list[CompletedPartTypeDef]:
    def one(number: int) -> CompletedPartTypeDef:
        first = (number - 1) * part
        answer = ask_s3(
            s3.upload_part_copy,
            Bucket=target.bucket,
            Key=target.key,
            UploadId=upload,
            PartNumber=number,
            CopySource={"Bucket": source.bucket, "Key": source.key},
            CopySourceIfMatch=found.etag,
            CopySourceRange=f"bytes={first}-{min(first + part, found.size) - 1}",
        )
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

    workers = ThreadPoolExecutor(_AT_ONCE)
    try:
        return list(workers.map(one, range(1, -(-found.size // part) + 1)))
    finally:
        workers.shutdown(cancel_futures=True)  # what is under way must end before the upload is aborted


@contextmanager
def uploading(s3: S3Client, target: S3Uri) -> Iterator[str]:
    """The id of a multipart upload, which is aborted where the block does not end well."""
    upload = ask_s3(s3.create_multipart_upload, Bucket=target.bucket, Key=target.key)["UploadId"]
    try:
        yield upload
    except BaseException:
        with suppress(SluiceError):  # the first failure is the one to tell
            ask_s3(s3.abort_multipart_upload, Bucket=target.bucket, Key=target.key, UploadId=upload)
        raise


def complete(s3: S3Client, target: S3Uri, upload: str, parts: Sequence[CompletedPartTypeDef], size: int) -> None:
    """Make the parts the object, of `size` bytes."""
    try:
        ask_s3(
            s3.complete_multipart_upload,
            Bucket=target.bucket,
            Key=target.key,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
        )
    except Answered as error:
        # sent again after a lost answer: the upload is gone because it became the object
        there = head(s3, target.bucket, target.key)
        if error.code != "NoSuchUpload" or there is None or there.size != size:
            raise
