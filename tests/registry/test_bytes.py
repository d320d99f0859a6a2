"""All large bytes of a bucket as garbage collection sees them: in memory, and on SeaweedFS."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from registry.aws import Clients
from registry.errors import Conflict, NotFound, Refused
from registry.memory import MemoryBlobs, MemoryBytes
from registry.progress import Silent
from registry.s3bytes import S3Bytes
from registry.store import CHUNK, Bytes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART = 5 * CHUNK
LARGE = bytes(range(256)) * 4096 * 11 + b"end"

Place = tuple[Bytes, Callable[[str, bytes], None], Callable[[str], bytes | None]]


@pytest.fixture
def s3_place(clients: Clients, new_bucket: Callable[[], str], raw_s3: S3Client) -> Place:
    bucket = new_bucket()

    def put(key: str, data: bytes) -> None:
        raw_s3.put_object(Bucket=bucket, Key=key, Body=data)

    def get(key: str) -> bytes:
        return raw_s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    return S3Bytes(clients, bucket, part=PART), put, get


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "s3":
        return request.getfixturevalue("s3_place")
    memory = MemoryBytes()
    return memory, memory.put, memory.get


def test_what_lies_there(place: Place) -> None:
    where, put, _ = place
    before = datetime.now(UTC) - timedelta(seconds=2)
    for key, data in {"outputs/a": b"12", "outputs/b": b"", "blobs/sha256/c": b"123", "uploads/d": b"1"}.items():
        put(key, data)
    found = list(where.objects("outputs/"))
    assert [(each.key, each.size) for each in found] == [("outputs/a", 2), ("outputs/b", 0)]
    assert all(before <= each.modified <= datetime.now(UTC) + timedelta(seconds=2) for each in found)
    assert all(each.modified.utcoffset() == timedelta(0) for each in found)
    assert [each.key for each in where.objects("")] == ["blobs/sha256/c", "outputs/a", "outputs/b", "uploads/d"]
    assert list(where.objects("none/")) == []
    modified = where.modified("outputs/a")
    assert modified is not None
    assert abs(modified - found[0].modified) < timedelta(seconds=1)  # a HEAD tells whole seconds
    assert where.modified("none") is None


def test_what_is_removed_and_what_was_not_there(place: Place) -> None:
    where, put, _ = place
    for key in ("outputs/a", "outputs/b", "outputs/ü +&<>\"'?"):
        put(key, b"x")
    where.delete([])
    where.delete(["outputs/a", "outputs/none", "outputs/ü +&<>\"'?"])
    where.delete(["outputs/a"])
    assert [each.key for each in where.objects("")] == ["outputs/b"]


@pytest.mark.parametrize("data", [b"", b"x", LARGE], ids=["empty", "byte", "parts"])
def test_a_touched_object_is_new_and_the_same(place: Place, data: bytes) -> None:
    where, put, get = place
    put("blobs/x", data)
    before = where.modified("blobs/x")
    assert before is not None
    if not isinstance(where, MemoryBytes):
        time.sleep(1.1)  # S3's clock goes by seconds
    where.touch("blobs/x")
    after = where.modified("blobs/x")
    assert after is not None
    assert after > before
    assert get("blobs/x") == data
    assert [each.size for each in where.objects("")] == [len(data)]


def test_touching_what_is_not_there(place: Place) -> None:
    where, _, _ = place
    with pytest.raises(NotFound, match=r"^none is gone.*: store it again\.$"):
        where.touch("none")
    assert list(where.objects("")) == []


def test_a_clock_ages_what_lies_in_memory() -> None:
    now = [datetime(2026, 11, 1, tzinfo=UTC)]
    where = MemoryBytes(lambda: now[0])
    blobs = MemoryBlobs(where)
    blob = blobs.put([b"x"], what="", progress=Silent())
    now[0] += timedelta(days=2)
    blobs.put([b"x"], what="", progress=Silent())
    [found] = where.objects("blobs/")
    assert found.modified == datetime(2026, 11, 1, tzinfo=UTC)
    where.touch(found.key)
    assert where.modified(found.key) == now[0]
    where.delete([found.key])
    assert blobs.size(blob.digest) is None


# on a real store


def test_more_than_a_thousand(s3_place: Place) -> None:
    where, put, _ = s3_place
    for n in range(3):
        put(f"outputs/{n}", b"")
    where.delete([*(f"outputs/none-{n}" for n in range(1500)), "outputs/1"])
    assert [each.key for each in where.objects("outputs/")] == ["outputs/0", "outputs/2"]


DELETED = "<DeleteResult><Error><Key>outputs/a</Key><Code>{}</Code><Message>no</Message></Error></DeleteResult>"


def test_one_key_that_is_not_removed_is_told(proxy: Any, s3_place: Place, proxied: Clients, once: Any) -> None:
    where, put, _ = s3_place
    put("outputs/a", b"x")
    through = S3Bytes(proxied, where.bucket)
    proxy.fault = lambda request: "answer 200 " + DELETED.format("AccessDenied")
    with pytest.raises(Refused, match="S3 denies this"):
        through.delete(["outputs/a"])
    proxy.requests.clear()
    proxy.fault = once("answer 200 " + DELETED.format("InternalError"))
    through.delete(["outputs/a"])
    assert len(proxy.requests) == 2
    assert list(where.objects("")) == []


def test_an_object_that_is_written_while_it_is_touched(proxy: Any, s3_place: Place, proxied: Clients) -> None:
    where, put, get = s3_place
    put("outputs/a", b"old")
    written = iter([b"new", b"newer", b"newest"])
    through = S3Bytes(proxied, where.bucket)

    def write(request: Any) -> str:
        if request.method == "PUT" and (data := next(written, None)):
            put("outputs/a", data)
        return ""

    proxy.fault = write
    with pytest.raises(Conflict, match="outputs/a comes and goes"):
        through.touch("outputs/a")
    through.touch("outputs/a")
    assert get("outputs/a") == b"newest"


def test_an_object_that_is_removed_while_it_is_touched(proxy: Any, s3_place: Place, proxied: Clients) -> None:
    where, put, _ = s3_place
    put("outputs/a", b"old")

    def remove(request: Any) -> str:
        if request.method == "PUT":
            where.delete(["outputs/a"])
        return ""

    proxy.fault = remove
    with pytest.raises(NotFound, match="outputs/a is gone"):
        S3Bytes(proxied, where.bucket).touch("outputs/a")
