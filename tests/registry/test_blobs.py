"""What every place for large bytes must do: in memory, and on SeaweedFS."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry import keys
from registry.aws import Clients
from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.memory import MemoryBlobs
from registry.progress import Silent
from registry.s3 import S3Blobs
from registry.s3read import head
from registry.s3upload import PART
from registry.store import CHUNK, Blobs

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOWHERE = "sha256:" + "0" * 64


class Heard:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int | None]] = []

    def bytes(self, what: str, done: int, total: int | None) -> None:
        assert what == "a model"
        self.told.append((done, total))

    def fact(self, text: str) -> None:
        raise AssertionError(text)


@pytest.fixture(params=["memory", "s3"])
def blobs(request: pytest.FixtureRequest) -> Blobs:
    return MemoryBlobs() if request.param == "memory" else request.getfixturevalue("s3_blobs")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def pattern(size: int, piece: int = CHUNK) -> Iterator[bytes]:
    """`size` bytes, no two MiB alike, that are never in memory together."""
    for at in range(0, size, piece):
        yield (at.to_bytes(8, "big") * (piece // 8 + 1))[: min(piece, size - at)]


def put(blobs: Blobs, data: bytes) -> str:
    return blobs.put([data], what="a model", progress=Silent()).digest


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, PART - 1, PART, PART + 1, 2 * PART + 5])
def test_bytes_come_back_under_their_digest(blobs: Blobs, size: int) -> None:
    expected = hashlib.sha256()
    for chunk in pattern(size, 300_000):
        expected.update(chunk)
    heard = Heard()
    blob = blobs.put(pattern(size, 300_000), what="a model", progress=heard)
    assert blob == ("sha256:" + expected.hexdigest(), size)
    assert blobs.size(blob.digest) == size
    chunks = list(blobs.chunks(blob.digest))
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
    assert digest_of(b"".join(chunks)) == blob.digest
    assert heard.told[-1] == (size, size)
    assert [done for done, _ in heard.told] == sorted(done for done, _ in heard.told)


@pytest.mark.parametrize("size", [10, PART + 10])
def test_the_same_bytes_twice_are_one_blob(blobs: Blobs, size: int) -> None:
    first = blobs.put(pattern(size), what="a model", progress=Silent())
    assert blobs.put(pattern(size, 77_777), what="a model", progress=Silent()).size == first.size
    assert blobs.put(pattern(size), what="a model", progress=Silent()) == first
    assert blobs.size(first.digest) == size


def test_what_is_not_there(blobs: Blobs) -> None:
    assert blobs.size(NOWHERE) is None
    with pytest.raises(NotFound, match=rf"no blob {NOWHERE}: package the version again\.$"):
        list(blobs.chunks(NOWHERE))
    with pytest.raises(NotFound, match=rf"no blob {NOWHERE}: package the version again\.$"), blobs.open(NOWHERE):
        pass


def test_the_largest_part_leaves_nothing_behind(s3_blobs: S3Blobs, raw_s3: S3Client) -> None:
    blob = s3_blobs.put(pattern(PART + 10), what="a model", progress=Silent())
    assert everything(s3_blobs, raw_s3) == [keys.blob(blob.digest)]


def everything(blobs: S3Blobs, raw_s3: S3Client) -> list[str]:
    """The bucket's keys, and its unfinished uploads."""
    found = [item["Key"] for item in raw_s3.list_objects_v2(Bucket=blobs.bucket).get("Contents", [])]
    uploads = raw_s3.list_multipart_uploads(Bucket=blobs.bucket).get("Uploads", [])
    return found + [f"upload of {upload['Key']}" for upload in uploads]


@pytest.mark.parametrize("size", [10, PART + 10, 2 * PART + 10])
@pytest.mark.parametrize("error", [Refused("a bad source."), KeyboardInterrupt()])
def test_a_source_that_breaks_off_leaves_nothing(
    s3_blobs: S3Blobs, raw_s3: S3Client, size: int, error: BaseException
) -> None:
    def broken() -> Iterator[bytes]:
        yield from pattern(size)
        raise error

    with pytest.raises(type(error)) as caught:
        s3_blobs.put(broken(), what="a model", progress=Silent())
    assert caught.value is error
    assert everything(s3_blobs, raw_s3) == []


def test_nothing_is_left_visible_in_memory_either() -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise Refused("a bad source.")

    blobs = MemoryBlobs()
    with pytest.raises(Refused):
        blobs.put(broken(), what="a model", progress=Silent())
    assert blobs.size(digest_of(b"x")) is None


def test_an_unfinished_upload_is_seen_by_this_test(s3_blobs: S3Blobs, raw_s3: S3Client) -> None:
    """What the tests above rely on: SeaweedFS lists uploads that were not finished."""
    raw_s3.create_multipart_upload(Bucket=s3_blobs.bucket, Key="k")
    assert everything(s3_blobs, raw_s3) == ["upload of k"]


FINISH = ["upload part", "complete", "copy"]


@pytest.mark.parametrize("step", FINISH)
@pytest.mark.parametrize("fault", ["lost request", "lost answer"])
def test_lost_messages_of_a_large_put(
    proxy: Any, proxied: Clients, once: Any, s3_blobs: S3Blobs, raw_s3: S3Client, step: str, fault: str
) -> None:
    matches = {
        "upload part": lambda request: "partNumber=2" in request.path,
        "complete": lambda request: request.method == "POST" and "uploadId=" in request.path,
        "copy": lambda request: request.method == "PUT" and "/blobs/" in request.path,
    }[step]
    proxy.fault = once(fault, matches)
    blob = S3Blobs(proxied, s3_blobs.bucket).put(pattern(PART + 10), what="a model", progress=Silent())
    assert sum(map(matches, proxy.requests)) >= 2
    assert digest_of(b"".join(s3_blobs.chunks(blob.digest))) == blob.digest
    assert [key for key in everything(s3_blobs, raw_s3) if step != "copy" or "upload" not in key] == [
        keys.blob(blob.digest)
    ]


def test_a_part_that_the_store_refuses_is_told_and_leaves_nothing(
    proxy: Any, proxied: Clients, s3_blobs: S3Blobs, raw_s3: S3Client
) -> None:
    no = "answer 400 <Error><Code>EntityTooLarge</Code><Message>too large</Message></Error>"
    proxy.fault = lambda request: no if "partNumber=2" in request.path else ""
    with pytest.raises(SluiceError, match="EntityTooLarge"):
        S3Blobs(proxied, s3_blobs.bucket).put(pattern(PART + 10), what="a model", progress=Silent())
    assert everything(s3_blobs, raw_s3) == []


def test_a_completion_that_never_happened_is_not_taken_for_done(
    proxy: Any, proxied: Clients, s3_blobs: S3Blobs, raw_s3: S3Client
) -> None:
    no = "answer 404 <Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>"
    proxy.fault = lambda request: no if request.method == "POST" and "uploadId=" in request.path else ""
    with pytest.raises(SluiceError, match="NoSuchUpload"):
        S3Blobs(proxied, s3_blobs.bucket).put(pattern(PART + 10), what="a model", progress=Silent())
    assert everything(s3_blobs, raw_s3) == []


def test_a_completion_that_happened_and_is_forgotten_is_done(
    proxy: Any, proxied: Clients, s3_blobs: S3Blobs, raw_s3: S3Client
) -> None:
    """SeaweedFS says yes twice; a store that has forgotten the upload does not know it the second time."""
    no = "answer 404 <Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>"
    seen: list[str] = []

    def forget(request: Any) -> str:
        if request.method == "POST" and "uploadId=" in request.path and "/uploads/" in request.path:
            seen.append(request.path)
            return "lost answer" if len(seen) == 1 else no
        return ""

    proxy.fault = forget
    blob = S3Blobs(proxied, s3_blobs.bucket).put(pattern(PART + 10), what="a model", progress=Silent())
    assert len(seen) == 2
    assert digest_of(b"".join(s3_blobs.chunks(blob.digest))) == blob.digest
    assert everything(s3_blobs, raw_s3) == [keys.blob(blob.digest)]


def write_over(blobs: S3Blobs, raw_s3: S3Client, digest: str, data: bytes) -> None:
    raw_s3.put_object(Bucket=blobs.bucket, Key=keys.blob(digest), Body=data)


@pytest.mark.parametrize("change", ["flip", "cut", "longer", "empty"])
def test_other_bytes_than_the_name_says_are_refused_at_the_end(
    s3_blobs: S3Blobs, raw_s3: S3Client, change: str
) -> None:
    data = b"".join(pattern(2 * CHUNK + 9))
    digest = put(s3_blobs, data)
    other = {"flip": b"\x01" + data[1:], "cut": data[:-1], "longer": data + b"\0", "empty": b""}[change]
    write_over(s3_blobs, raw_s3, digest, other)
    seen: list[bytes] = []
    with pytest.raises(Refused, match=rf"^Blob {digest} holds other bytes than its name says: restore it"):
        seen.extend(s3_blobs.chunks(digest))
    assert b"".join(seen) == other


def test_a_blob_that_is_replaced_while_it_is_read(s3_blobs: S3Blobs, raw_s3: S3Client) -> None:
    digest = put(s3_blobs, b"".join(pattern(5 * CHUNK)))
    with s3_blobs.open(digest) as file:
        assert len(file.read(10)) == 10
        write_over(s3_blobs, raw_s3, digest, bytes(5 * CHUNK))
        file.seek(-1, io.SEEK_END)
        with pytest.raises(Conflict, match="was replaced while it was read: start again"):
            file.read(1)


def test_a_download_that_breaks_off_goes_on_where_it_was(
    proxy: Any, proxied: Clients, once: Any, s3_blobs: S3Blobs
) -> None:
    data = b"".join(pattern(5 * CHUNK))
    digest = put(s3_blobs, data)
    through = S3Blobs(proxied, s3_blobs.bucket)
    gets: list[str] = []

    def cut(request: Any) -> str:
        # each answer is cut in half, so that there is progress each time: more often than it may fail without any
        if request.method == "GET":
            gets.append(request.path)
        return "half answer" if request.method == "GET" and len(gets) < 12 else ""

    proxy.fault = cut
    assert b"".join(through.chunks(digest)) == data
    assert len(gets) > 6
    gets.clear()
    proxy.fault = once("half answer", lambda request: request.method == "GET")
    with through.open(digest) as file:
        assert file.read() == data


def test_a_download_that_never_gets_anywhere_ends(proxy: Any, proxied: Clients, s3_blobs: S3Blobs) -> None:
    digest = put(s3_blobs, b"x" * 10)
    through = S3Blobs(proxied, s3_blobs.bucket)
    proxy.fault = lambda request: "lost answer" if request.method == "GET" else ""
    with pytest.raises(Unavailable):
        list(through.chunks(digest))


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../etc", "md5:" + "0" * 32, NOWHERE.upper()])
def test_no_key_is_made_of_what_is_no_digest(s3_blobs: S3Blobs, digest: str) -> None:
    for use in (lambda: s3_blobs.size(digest), lambda: list(s3_blobs.chunks(digest))):
        with pytest.raises(InvalidInput):
            use()


STEPS = st.lists(
    st.tuples(st.just("read"), st.integers(-1, 9_000_000), st.just(0))
    | st.tuples(st.just("seek"), st.integers(-6_000_000, 12_000_000), st.sampled_from([0, 1, 2]))
    | st.tuples(st.just("seek"), st.integers(4 * CHUNK - 3, 4 * CHUNK + 3), st.just(0)),
    max_size=8,
)


def outcome(file: Any, step: tuple[str, int, int]) -> Any:
    name, number, whence = step
    try:
        return file.read(number) if name == "read" else file.seek(number, whence)
    except ValueError:
        return "ValueError"


@pytest.fixture(scope="module")
def big() -> bytes:
    return b"".join(pattern(9 * CHUNK + 17, 100_003))


@pytest.mark.parametrize("size", [0, 1, 9 * CHUNK + 17])
def test_an_open_blob_is_like_a_file(blobs: Blobs, big: bytes, size: int) -> None:
    digest = put(blobs, big[:size])

    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(STEPS)
    def like_a_file(steps: list[tuple[str, int, int]]) -> None:
        with blobs.open(digest) as file, io.BytesIO(big[:size]) as model:
            for step in steps:
                assert outcome(file, step) == outcome(model, step)
                assert file.tell() == model.tell()

    like_a_file()


def test_reading_in_small_steps_asks_once_for_each_window(
    proxy: Any, proxied: Clients, s3_blobs: S3Blobs, big: bytes
) -> None:
    digest = put(s3_blobs, big)
    with S3Blobs(proxied, s3_blobs.bucket).open(digest) as file:
        assert isinstance(file, io.RawIOBase)
        assert file.readable()
        assert file.seekable()
        while file.read(500_000):
            pass
    assert [request.method for request in proxy.requests] == ["HEAD", "GET", "GET", "GET"]


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start(1)
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_blob(s3_blobs: S3Blobs) -> None:
    digests: list[str] = []

    def write(size: int) -> int:
        return peak_of(lambda: digests.append(s3_blobs.put(pattern(size), what="m", progress=Silent()).digest))

    def read(digest: str) -> int:
        return peak_of(lambda: sum(map(len, s3_blobs.chunks(digest))))

    write(2 * PART + 1)  # what is loaded once is not counted
    small, large = write(6 * PART), write(12 * PART)
    assert large < small + PART // 2, (small, large)
    assert large < 6 * PART
    assert read(digests[2]) < 28 * CHUNK


def test_head_of_nothing(s3_blobs: S3Blobs, clients: Clients) -> None:
    assert head(clients.s3(), s3_blobs.bucket, "none") is None
