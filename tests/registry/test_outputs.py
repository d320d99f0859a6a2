"""The registry's own copies: in memory, and on SeaweedFS."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from registry import keys
from registry.aws import Clients
from registry.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from registry.facts import Source, SourceKind, Version
from registry.memory import MemoryBlobs, MemoryBytes, MemoryOutputs, etag_of
from registry.outputs import Outputs, S3Outputs
from registry.progress import Silent
from registry.s3 import S3Blobs
from registry.s3bytes import S3Bytes
from registry.store import CHUNK, Blobs, Bytes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART = 5 * CHUNK
DATA = b"".join(n.to_bytes(4, "big") for n in range(600_000))
LARGE = bytes(range(256)) * 4096 * 11 + b"end"
NOWHERE = "sha256:" + "0" * 64


class World(NamedTuple):
    """Outputs, with a place to train to."""

    outputs: Outputs
    blobs: Blobs
    bytes: Bytes
    train: Callable[[str, bytes | None], None]
    """Puts an archive at an address, or removes it."""
    bucket: str


@pytest.fixture(params=["memory", "s3"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "s3":
        return request.getfixturevalue("s3_world")
    place, files = MemoryBytes(), {}

    def train(uri: str, data: bytes | None) -> None:
        if data is None:
            del files[uri]
        else:
            files[uri] = data

    return World(MemoryOutputs(place, files), MemoryBlobs(place), place, train, "training")


@pytest.fixture
def s3_world(clients: Clients, s3_blobs: S3Blobs, new_bucket: Callable[[], str], raw_s3: S3Client) -> World:
    bucket = new_bucket()

    def train(uri: str, data: bytes | None) -> None:
        key = uri.removeprefix(f"s3://{bucket}/")
        if data is None:
            raw_s3.delete_object(Bucket=bucket, Key=key)
        else:
            raw_s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata={"by": "training"})

    outputs = S3Outputs(clients, s3_blobs.bucket, part=PART)
    return World(outputs, s3_blobs, S3Bytes(clients, s3_blobs.bucket, part=PART), train, bucket)


def trained(world: World, data: bytes = DATA, name: str = "job") -> Source:
    uri = f"s3://{world.bucket}/out/{name}/output/model.tar.gz"
    world.train(uri, data)
    return Source(kind=SourceKind.S3, uri=uri, etag=etag_of(data), size=len(data))


def version(source: Source, output: str) -> Version:
    return Version(model="m", number=7, source=source, output=output, created_at=datetime.now(UTC), created_by="tests")


def read(world: World, source: Source, output: str) -> bytes:
    chunks = list(world.outputs.chunks(version(source, output)))
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
    return b"".join(chunks)


@pytest.mark.parametrize("data", [b"", b"x", DATA, LARGE], ids=["empty", "byte", "one request", "parts"])
def test_a_copy_outlives_its_source(world: World, data: bytes) -> None:
    source = trained(world, data)
    key = world.outputs.own(source)
    world.train(source.uri, None)
    assert key.startswith("outputs/")
    assert world.outputs.size(key) == len(data)
    assert read(world, source, key) == data


def test_each_copy_has_a_key_of_its_own(world: World) -> None:
    source = trained(world)
    first, second = world.outputs.own(source), world.outputs.own(source)
    assert first != second
    assert sorted(found.key for found in world.bytes.objects("")) == sorted([first, second])


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["one request", "parts"])
def test_a_source_that_was_replaced(world: World, data: bytes) -> None:
    source = trained(world, data)
    world.train(source.uri, b"y" + data[1:])
    with pytest.raises(Conflict, match=rf"^The training output {source.uri} was replaced while it was registered: "):
        world.outputs.own(source)
    assert list(world.bytes.objects("")) == []


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["one request", "parts"])
def test_a_source_that_is_gone(world: World, data: bytes) -> None:
    source = trained(world, data)
    world.train(source.uri, None)
    with pytest.raises(NotFound, match=rf"^The training output {source.uri} is gone: restore it, or train again\.$"):
        world.outputs.own(source)
    nowhere = source.model_copy(update={"uri": "s3://no-such-bucket-at-all/model.tar.gz"})
    with pytest.raises(NotFound, match=r"^The training output s3://no-such-bucket-at-all/model\.tar\.gz is gone"):
        world.outputs.own(nowhere)
    assert list(world.bytes.objects("")) == []


def test_names_that_a_header_must_quote(world: World) -> None:
    source = trained(world, name="ü +%&?#=/ x")
    assert read(world, source, world.outputs.own(source)) == DATA


def uploaded(world: World, kind: SourceKind = SourceKind.UPLOAD, data: bytes = DATA, uri: str = "") -> Source:
    blob = world.blobs.put([data], what="", progress=Silent())
    return Source(kind=kind, uri=uri or blob.digest, digest=blob.digest, size=blob.size)


@pytest.mark.parametrize(
    ("kind", "uri"), [(SourceKind.UPLOAD, ""), (SourceKind.MLFLOW, "mlflow://host/models/fraud/3")]
)
def test_what_is_a_blob_already_stays_one(world: World, kind: SourceKind, uri: str) -> None:
    source = uploaded(world, kind, uri=uri)
    key = world.outputs.own(source)
    assert key == world.outputs.own(source) == keys.blob(source.digest or "")
    assert read(world, source, key) == DATA
    assert [found.key for found in world.bytes.objects("")] == [key]


def test_a_blob_that_is_not_there_or_another(world: World) -> None:
    source = uploaded(world)
    with pytest.raises(NotFound, match=rf"^The bucket has no blob {NOWHERE}: upload it again\.$"):
        world.outputs.own(source.model_copy(update={"digest": NOWHERE}))
    with pytest.raises(InvalidInput, match=f"has {len(DATA)} bytes, not 1: correct the size, or upload it again"):
        world.outputs.own(source.model_copy(update={"size": 1}))
    with pytest.raises(InvalidInput, match="is not a digest"):
        world.outputs.own(Source(kind=SourceKind.UPLOAD, uri="../../model.json", size=1))


def test_a_number_without_bytes(world: World) -> None:
    source = Source(kind=SourceKind.NONE, uri="mlflow://host/models/fraud/3", size=0)
    assert world.outputs.own(source) == ""
    with pytest.raises(NotFound, match=r"^m@7 has no bytes, only a number: register the model anew\.$"):
        list(world.outputs.chunks(version(source, "")))


def test_a_copy_that_is_gone_or_another(world: World) -> None:
    source = trained(world)
    key = world.outputs.own(source)
    longer = source.model_copy(update={"size": 5})
    with pytest.raises(Refused, match=rf"copy of m@7 \({key}\) has {len(DATA)} bytes where 5 were registered: restore"):
        next(world.outputs.chunks(version(longer, key)))
    world.bytes.delete([key])
    assert world.outputs.size(key) is None
    with pytest.raises(NotFound, match=rf"^The registry's copy of m@7 \({key}\) is gone: restore it from a backup\.$"):
        next(world.outputs.chunks(version(source, key)))


def test_a_blob_of_other_bytes_is_told_at_the_end(world: World) -> None:
    source = uploaded(world)
    key = world.outputs.own(source)
    other = "sha256:" + hashlib.sha256(b"other").hexdigest()
    chunks = world.outputs.chunks(version(source.model_copy(update={"digest": other}), key))
    seen = 0
    with pytest.raises(Refused, match="holds other bytes"):  # noqa: PT012  # what came before is looked at, too
        for chunk in chunks:
            seen += len(chunk)
    assert seen == len(DATA)


def test_without_files_anything_lies_anywhere(source: Callable[..., Source]) -> None:
    outputs, found = MemoryOutputs(), source("job")
    assert b"".join(outputs.chunks(version(found, outputs.own(found)))) == bytes(12)


# on a real store


def everything(world: World, raw_s3: S3Client) -> list[str]:
    """The bucket's keys, and its unfinished uploads."""
    uploads = raw_s3.list_multipart_uploads(Bucket=world.outputs.bucket).get("Uploads", [])
    return [found.key for found in world.bytes.objects("")] + [f"upload of {upload['Key']}" for upload in uploads]


def through(world: World, clients: Clients) -> World:
    return world._replace(outputs=S3Outputs(clients, world.outputs.bucket, part=PART))


@pytest.mark.parametrize("fault", ["lost request", "lost answer", "200 with an error", "503"])
@pytest.mark.parametrize("step", ["copy", "begin", "part", "complete"])
def test_faults_on_the_way(
    proxy: Any, s3_world: World, proxied: Clients, once: Any, raw_s3: S3Client, step: str, fault: str
) -> None:
    matches = {
        "copy": lambda request: request.method == "PUT" and "partNumber" not in request.path,
        "begin": lambda request: request.path.endswith("?uploads"),
        "part": lambda request: "partNumber=2" in request.path,
        "complete": lambda request: request.method == "POST" and "uploadId=" in request.path,
    }[step]
    error = "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
    said = {"200 with an error": f"answer 200 {error}", "503": f"answer 503 {error}"}.get(fault, fault)
    source = trained(s3_world, DATA if step == "copy" else LARGE)
    proxy.fault = once(said, matches)
    key = through(s3_world, proxied).outputs.own(source)
    assert sum(map(matches, proxy.requests)) == 2
    assert read(s3_world, source, key) == (DATA if step == "copy" else LARGE)
    left = everything(s3_world, raw_s3)
    assert left[:1] == [key]
    # an upload that was begun twice is not known here, and ends by the bucket's lifecycle rule
    assert len(left) == 1 + (step == "begin" and fault == "lost answer")


@pytest.mark.parametrize("size", ["one request", "parts"])
def test_a_store_that_never_answers_is_unavailable_and_leaves_nothing(
    proxy: Any, s3_world: World, proxied: Clients, raw_s3: S3Client, size: str
) -> None:
    source = trained(s3_world, DATA if size == "one request" else LARGE)
    wanted = "outputs/" if size == "one request" else "partNumber=3"
    proxy.fault = lambda request: "lost request" if request.method == "PUT" and wanted in request.path else ""
    with pytest.raises(Unavailable):
        through(s3_world, proxied).outputs.own(source)
    assert everything(s3_world, raw_s3) == []


def test_what_the_store_refuses_is_told_and_leaves_nothing(
    proxy: Any, s3_world: World, proxied: Clients, raw_s3: S3Client
) -> None:
    no = "answer 403 <Error><Code>AccessDenied</Code><Message>no kms:Decrypt</Message></Error>"
    proxy.fault = lambda request: no if request.method == "PUT" else ""
    for data in (DATA, LARGE):
        with pytest.raises(Refused, match=r"S3 denies this .*no kms:Decrypt"):
            through(s3_world, proxied).outputs.own(trained(s3_world, data))
    assert everything(s3_world, raw_s3) == []


def test_the_missing_bucket_is_the_registrys(proxy: Any, s3_world: World, proxied: Clients) -> None:
    """As S3 says it; SeaweedFS knows no better word than InternalError here."""
    no = "answer 404 <Error><Code>NoSuchBucket</Code><Message>none</Message><BucketName>models</BucketName></Error>"
    proxy.fault = lambda request: no if request.method == "PUT" else ""
    with pytest.raises(NotFound, match=r"^There is no bucket models: create it"):
        through(s3_world, proxied).outputs.own(trained(s3_world))


def test_a_replacement_between_two_parts_is_found(
    proxy: Any, s3_world: World, proxied: Clients, raw_s3: S3Client
) -> None:
    source = trained(s3_world, LARGE)

    def replace(request: Any) -> str:
        if request.path.endswith("?uploads"):
            s3_world.train(source.uri, LARGE[::-1])
        return ""

    proxy.fault = replace
    with pytest.raises(Conflict, match="was replaced while it was registered"):
        through(s3_world, proxied).outputs.own(source)
    assert everything(s3_world, raw_s3) == []


def test_a_dropped_download_goes_on(proxy: Any, s3_world: World, proxied: Clients, once: Any) -> None:
    source = trained(s3_world, LARGE)
    key = s3_world.outputs.own(source)
    proxy.fault = once("half answer", lambda request: request.method == "GET")
    assert read(through(s3_world, proxied), source, key) == LARGE


def test_a_copy_carries_no_metadata(s3_world: World, raw_s3: S3Client) -> None:
    for data in (DATA, LARGE):
        key = s3_world.outputs.own(trained(s3_world, data))
        assert raw_s3.head_object(Bucket=s3_world.outputs.bucket, Key=key)["Metadata"] == {}
