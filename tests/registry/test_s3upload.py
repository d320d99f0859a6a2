"""Large bytes in parts, and several at once: the same bytes, and nothing under way when it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import s3upload
from registry.aws import Clients
from registry.progress import Silent
from registry.s3 import S3Blobs
from registry.s3upload import PART, parts_of
from registry.store import CHUNK


@given(st.lists(st.integers(0, 40), max_size=30))
def test_parts_hold_the_same_bytes(sizes: list[int]) -> None:
    """With parts of 8 bytes, and of 32 from the third on."""
    data = bytes(range(256)) * 8
    chunks, at = [], 0
    for size in sizes:
        chunks.append(data[at : at + size])
        at += size
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("PART", 8), ("_LARGE_PART", 32), ("_SMALL_PARTS", 2)):
            patch.setattr(s3upload, name, value)
        parts = list(parts_of(chunks))
    assert b"".join(parts) == b"".join(chunks)
    expected = [8, 8, *[32] * len(parts)]
    assert [len(part) for part in parts[:-1]] == expected[: max(0, len(parts) - 1)]
    assert all(0 < len(part) <= size for part, size in zip(parts, expected, strict=False))


def test_a_part_is_not_written_over_once_it_is_given() -> None:
    first, second = list(parts_of([b"a" * PART, b"b" * PART]))
    assert (first.count(b"a"), second.count(b"b")) == (PART, PART)


def workers() -> list[str]:
    names = ("upload", "download", "window")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(names)]


def pattern(size: int) -> Iterator[bytes]:
    for at in range(0, size, CHUNK):
        yield (at.to_bytes(8, "big") * (CHUNK // 8))[: size - at]


def test_no_thread_stays(s3_blobs: S3Blobs) -> None:
    """Neither of an upload, nor of a download that is given up or of a file that was read only in part."""
    size = 5 * PART + 5
    blob = s3_blobs.put(pattern(size), what="", progress=Silent())
    assert workers() == []
    chunks = s3_blobs.chunks(blob.digest)
    next(chunks)
    assert workers() != []
    chunks.close()  # type: ignore[attr-defined]  # it is a generator
    assert workers() == []
    with s3_blobs.open(blob.digest) as file:
        for _ in range(9):
            file.read(CHUNK)
        assert workers() != []
    assert workers() == []


def test_parts_come_back_in_their_order_however_they_arrive(s3_blobs: S3Blobs, clients: Clients) -> None:
    """The first of each two parts is held up until the second has arrived."""
    arrived = {number: threading.Event() for number in range(1, 9)}
    s3 = clients.s3()

    def hold(params: dict[str, object], **_: object) -> None:
        number = params["PartNumber"]
        assert isinstance(number, int)
        if number % 2:
            assert arrived[number + 1].wait(30)
        else:
            arrived[number].set()

    s3.meta.events.register("before-parameter-build.s3.UploadPart", hold)
    try:
        blobs = S3Blobs(clients, s3_blobs.bucket)
        blob = blobs.put(pattern(8 * PART), what="", progress=Silent())
    finally:
        s3.meta.events.unregister("before-parameter-build.s3.UploadPart", hold)
    assert b"".join(blobs.chunks(blob.digest)) == b"".join(pattern(8 * PART))
