"""The steps on real servers: what they make, that they may be run again, and that they may be killed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from gitops.release import Runtime
from pipelines.archive import Limits
from pipelines.image.builder import Builder
from pipelines.image.content import Content, Made
from pipelines.image.ecr import EcrCatalog
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.recipes import StoredRecipes
from pipelines.steps.build import BuildInput, build
from pipelines.steps.package import PackageInput, package
from pipelines.steps.register import RegisterInput, register
from pipelines.steps.scan import scan
from registry.aws import Clients
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from registry.facts import Artifact, Facts, Format, Image, Scan, Signature
from registry.names import VersionRef
from registry.progress import Progress, Silent
from registry.registry import Registry
from registry.sagemaker import SageMakerSources
from registry.storage import Storage
from sluice.demo.endpoints import Endpoints

TRAINING_BUCKET = "sluice-demo-training"
CLOCK = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
Base = Callable[[Runtime], LayoutImage]


class SharedClients(Clients):
    """The same client whenever one is asked for: making one takes longer than most requests here."""

    s3 = cache(Clients.s3)
    sagemaker = cache(Clients.sagemaker)
    ecr = cache(Clients.ecr)


class World(NamedTuple):
    """A bucket of its own, and what the steps work on."""

    clients: Clients
    bucket: str
    folder: Path
    prefix: str
    base: Base

    @property
    def s3(self) -> Any:
        return self.clients.s3()

    def parts(self) -> Parts:
        """Everything made anew, as another process would."""
        storage = Storage.s3(self.clients, self.bucket)
        return Parts(
            SageMakerSources(self.clients),
            storage.outputs,
            Registry(storage, clock=lambda: CLOCK),
            storage.blobs,
            StoredRecipes(storage.store),
            EcrCatalog(LayoutDestination(self.folder / "images"), self.clients, self.prefix),
            self.base,
            Silent(),
        )

    def objects(self) -> dict[str, tuple[str, Any]]:
        """Every object of the bucket: etag and time of writing."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {o["Key"]: (o["ETag"], o["LastModified"]) for page in pages for o in page.get("Contents", [])}

    def files(self) -> dict[str, bytes]:
        """Every file of the image layouts but locks."""
        found = (path for path in (self.folder / "images").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found if path.name[:1] != "."}

    def job(self, archive: bytes) -> str:
        """A finished training job whose output is `archive`."""
        name = f"job-{uuid4().hex[:12]}"
        described = json.loads(
            (Path(__file__).parents[2] / "examples/digits/jobs/digits-2026-11-08/job.json").read_bytes()
        )
        described = {k: v for k, v in described.items() if k != "FinalMetricDataList"} | {"TrainingJobName": name}
        self.clients.sagemaker().create_training_job(**described)
        self.put_output(name, archive)
        return name

    def put_output(self, job: str, archive: bytes) -> None:
        self.s3.put_object(Bucket=TRAINING_BUCKET, Key=f"output/{job}/output/model.tar.gz", Body=archive)


class Parts(NamedTuple):
    """What the steps are handed."""

    sources: Any
    outputs: Any
    registry: Registry
    blobs: Any
    recipes: Any
    destination: Any
    base: Base
    progress: Progress

    def register(self, job: str, model: str = "m") -> VersionRef:
        return register(
            RegisterInput(source=job, model=model, actor="tests"),
            self.sources,
            self.blobs,
            self.registry,
            self.progress,
        ).ref

    def scan(self, ref: VersionRef) -> Scan:
        return scan(ref, self.outputs, self.registry, Limits(), self.progress)

    def package(self, ref: VersionRef) -> Artifact:
        return package(PackageInput(ref=ref), self.outputs, self.registry, self.blobs, self.progress)

    def build(self, ref: VersionRef) -> Image:
        builder = Builder(self.blobs, self.recipes, self.destination, self.progress)
        return build(BuildInput(ref=ref), self.registry, builder, self.base, self.destination, self.progress)

    def all(self, job: str, model: str) -> tuple[VersionRef, Facts]:
        ref = self.register(job, model)
        self.scan(ref)
        self.package(ref)
        self.build(ref)
        return ref, self.registry.facts(ref)


@pytest.fixture(scope="module")
def shared(endpoints: Endpoints) -> Iterator[SharedClients]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in endpoints.environment().items():
            patch.setenv(name, value)
        clients = SharedClients()
        made = (clients.s3(), clients.sagemaker(), clients.ecr())
    yield clients
    for client in made:
        client.close()


@pytest.fixture
def world(shared: SharedClients, new_bucket: Callable[[], str], tmp_path: Path, base: Base) -> World:
    return World(shared, new_bucket(), tmp_path, f"p{uuid4().hex[:10]}", base)


def targz(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), 1, mtime=0)


def files_in(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}  # type: ignore[union-attr]


SAVED_MODEL = files_in(Path(__file__).parents[2] / "examples/wine/jobs/wine-2026-11-10/model.tar.gz")
PB = next(path for path in SAVED_MODEL if path.endswith("/saved_model.pb"))

EXAMPLES = [
    ("digits", "digits-2026-11-08", "mar", Format.TORCHSCRIPT, Runtime.TORCHSERVE),
    ("wine", "wine-2026-11-10", "saved-model", Format.SAVED_MODEL, Runtime.TENSORFLOW_SERVING),
]


@pytest.mark.parametrize(("model", "job", "kind", "form", "runtime"), EXAMPLES, ids=["digits", "wine"])
def test_a_training_job_becomes_an_image(
    model: str, job: str, kind: str, form: Format, runtime: Runtime, world: World, examples: Path
) -> None:
    archive = (examples / model / "jobs" / job / "model.tar.gz").read_bytes()
    ref, facts = world.parts().all(job, model)
    assert ref == VersionRef(model=model, number=1)
    assert facts.state == "built"
    assert facts.scan is not None
    assert facts.artifact is not None
    assert facts.image is not None
    assert (facts.scan.source, facts.scan.size) == ("sha256:" + hashlib.sha256(archive).hexdigest(), len(archive))
    assert facts.scan.format is form
    assert facts.artifact.source == facts.scan.source
    assert facts.artifact.type == kind
    assert (facts.image.artifact, facts.image.runtime) == (facts.artifact.blob, runtime.value)
    key = "blobs/sha256/" + facts.artifact.blob.removeprefix("sha256:")
    stored = world.s3.get_object(Bucket=world.bucket, Key=key)["Body"].read()
    assert ("sha256:" + hashlib.sha256(stored).hexdigest(), len(stored)) == (facts.artifact.blob, facts.artifact.size)
    folder = f"models/{model}/versions/9999999998-1"
    known = ("scan", "artifact", "image", *(["signature"] if world.parts().registry.fact(ref, Signature) else []))
    layers = {name for name in lasting(world) if name.startswith("layers/")}
    assert layers
    assert {name for name in lasting(world) if not name.startswith(f"models/{model}/sources/")} - layers == {
        "sluice.json",
        f"models/{model}/model.json",
        f"models/{model}/log/9999999998-1.json",
        key,
        *(f"{folder}/{fact}.json" for fact in known),
    }
    assert [name for name in world.objects() if name.startswith("outputs/")] == [
        world.parts().registry.version(ref).output
    ]


@pytest.mark.parametrize(("model", "job"), [e[:2] for e in EXAMPLES], ids=["digits", "wine"])
def test_each_step_again_changes_nothing(model: str, job: str, world: World, recording: Any) -> None:
    ref = world.parts().register(job, model)
    steps: list[Callable[[Parts], object]] = [
        lambda parts: parts.register(job, model),
        lambda parts: parts.scan(ref),
        lambda parts: parts.package(ref),
        lambda parts: parts.build(ref),
    ]
    for step in steps:
        first = step(world.parts())
        objects, files = world.objects(), world.files()
        parts = world.parts()
        destination = recording(parts.destination)
        assert step(parts._replace(destination=destination)) == first
        assert without_marker(world.objects()) == without_marker(objects)
        assert world.files() == files
        assert (destination.puts, destination.pushes) == ([], [])


def without_marker(objects: dict[str, Any]) -> dict[str, Any]:
    """The objects but for the one that a registry probes the bucket with."""
    return {key: value for key, value in objects.items() if key != "sluice.json"}


def lasting(world: World) -> set[str]:
    """The keys but for what a broken-off run leaves beside: a copy that nobody names, events of what never was."""
    return {key for key in world.objects() if not key.startswith(("outputs/", "events/"))}


class _Unwritten(Exception):
    pass


def test_a_build_that_broke_off_may_be_finished_on_another_base(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parts = world.parts()
    ref = parts.register("digits-2026-11-08", "digits")
    parts.package(ref)

    def unwritten(*_: object) -> None:
        raise _Unwritten

    monkeypatch.setattr(parts.registry, "record", unwritten)
    with pytest.raises(_Unwritten):
        parts.build(ref)
    # the base moved on meanwhile: another one stands where its name points
    other = world.base(Runtime.TENSORFLOW_SERVING)
    parts = world.parts()
    first = parts._replace(base=lambda _: other).build(ref)
    again = world.parts().build(ref)
    assert again == first
    (named,) = world.clients.ecr().batch_get_image(
        repositoryName=f"{world.prefix}/digits", imageIds=[{"imageTag": "v1"}]
    )["images"]
    assert named["imageId"]["imageDigest"] == first.reference.partition("@")[2]


def test_packaging_scans_where_that_was_not_done(world: World) -> None:
    parts = world.parts()
    ref = parts.register("digits-2026-11-08", "digits")
    artifact = parts.package(ref)
    facts = world.parts().registry.facts(ref)
    assert facts.artifact == artifact
    assert facts.scan is not None
    assert world.parts().scan(ref) == facts.scan


class Killed(BaseException):
    """Stands for a process that ends: nothing catches it."""


class Fuse:
    """Ends the work at the n-th thing that happens: an effect that is done, or one that is in its midst."""

    def __init__(self, at: int) -> None:
        self._left, self._lock = at, threading.Lock()

    def burn(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                raise Killed


class Fused:
    """A part whose effects burn a fuse, each when it is done."""

    EFFECTS = frozenset({"create", "replace", "put", "tag", "create_repository", "put_image", "own"})

    def __init__(self, part: Any, fuse: Fuse) -> None:
        self._part, self._fuse = part, fuse

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        if name not in self.EFFECTS:
            return method

        def call(*arguments: Any, **named: Any) -> Any:
            result = method(*map(self._slow, arguments), **named)
            self._fuse.burn()
            return result

        return call

    def _slow(self, argument: Any) -> Any:
        """Bytes that are used up over time burn the fuse on the way."""
        if isinstance(argument, Iterator):
            return self._burning(argument)
        if isinstance(argument, str | bytes) or not hasattr(argument, "chunks"):
            return argument
        content: Content = argument
        made = Made(lambda: self._burning(content.chunks()), content.size)
        made.digest, made.origin = content.digest, content.origin
        return made

    def _burning(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        yield next(chunks)
        self._fuse.burn()
        yield from chunks


class FusedClients(NamedTuple):
    """Clients of which ECR's burns."""

    clients: Clients
    fuse: Fuse

    def ecr(self) -> Any:
        return Fused(self.clients.ecr(), self.fuse)


def fused(world: World, fuse: Fuse) -> Parts:
    """The parts, with a fuse in every one that has an effect."""
    parts = world.parts()
    inner: Any = Fused(LayoutDestination(world.folder / "images"), fuse)
    clients: Any = FusedClients(world.clients, fuse)
    there = Storage.s3(world.clients, world.bucket)
    store, outputs, blobs = (Fused(part, fuse) for part in (there.store, there.outputs, there.blobs))
    storage: Any = replace(there, store=store, outputs=outputs, blobs=blobs)
    return parts._replace(
        registry=Registry(storage, clock=lambda: CLOCK),
        blobs=blobs,
        recipes=StoredRecipes(store),
        destination=EcrCatalog(inner, clients, world.prefix),
    )


@pytest.mark.parametrize(("model", "job"), [e[:2] for e in EXAMPLES], ids=["digits", "wine"])
def test_killed_anywhere_and_run_again_it_ends_the_same(model: str, job: str, world: World, tmp_path: Path) -> None:
    ref, wanted = world.parts().all(job, model)
    version = world.parts().registry.version(ref)
    objects, files = lasting(world), world.files()

    def clear() -> None:
        for key in world.objects():
            world.s3.delete_object(Bucket=world.bucket, Key=key)
        world.clients.ecr().delete_repository(repositoryName=f"{world.prefix}/{model}", force=True)

    for n in range(1, 1000):
        clear()
        here = world._replace(folder=tmp_path / f"run-{n}")
        try:
            fused(here, Fuse(n)).all(job, model)
        except Killed:
            pass
        else:
            break
        assert here.parts().all(job, model) == (ref, wanted), n
        found = here.parts().registry.version(ref)
        assert found.model_copy(update={"output": version.output}) == version, n
        assert found.output in here.objects()
        assert lasting(here) == objects, n
        assert here.files() == files, n
    assert 15 < n < 1000, "the work never ended, or nothing was counted"


def test_a_version_outlives_its_source(world: World) -> None:
    job = world.job(targz(SAVED_MODEL))
    ref = world.parts().register(job)
    world.put_output(job, targz({**SAVED_MODEL, "1/more": b"x"}))
    seen = world.parts().scan(ref)
    assert seen.source == "sha256:" + hashlib.sha256(targz(SAVED_MODEL)).hexdigest()
    world.s3.delete_object(Bucket=TRAINING_BUCKET, Key=f"output/{job}/output/model.tar.gz")
    assert world.parts().package(ref).source == seen.source


def test_a_copy_that_was_changed_or_is_gone(world: World) -> None:
    ref = world.parts().register(world.job(targz(SAVED_MODEL)))
    key = world.parts().registry.version(ref).output
    world.s3.put_object(Bucket=world.bucket, Key=key, Body=targz({**SAVED_MODEL, "1/more": b"x"}))
    for step in (world.parts().scan, world.parts().package):
        with pytest.raises(Refused, match=r"copy of m@1 .* bytes where .* were registered: restore it"):
            step(ref)
    world.s3.delete_object(Bucket=world.bucket, Key=key)
    for step in (world.parts().scan, world.parts().package):
        with pytest.raises(NotFound, match=r"copy of m@1 .* is gone: restore it"):
            step(ref)
    assert world.parts().registry.facts(ref) == Facts()


class Other:
    """Outputs whose bytes are others than when they were scanned, though S3 says nothing of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def chunks(self, version: object) -> Iterator[bytes]:
        yield self._data


@pytest.mark.parametrize(
    "files",
    [
        {**SAVED_MODEL, PB: SAVED_MODEL[PB][:-1] + bytes([SAVED_MODEL[PB][-1] ^ 1])},
        {**SAVED_MODEL, PB: SAVED_MODEL[PB] + b"x"},
        {**SAVED_MODEL, "1/more": b""},
        {PB: SAVED_MODEL[PB]},
        dict(reversed(SAVED_MODEL.items())),
    ],
    ids=["bytes", "size", "more", "fewer", "order"],
)
def test_bytes_that_differ_from_the_scan_are_refused(files: dict[str, bytes], world: World) -> None:
    parts = world.parts()
    ref = parts.register(world.job(targz(SAVED_MODEL)))
    parts.scan(ref)
    before = world.objects()
    with pytest.raises(Refused, match=r"changed since\.$"):
        parts._replace(outputs=Other(targz(files))).package(ref)
    assert world.objects() == before
    assert world.parts().package(ref).type == "saved-model"


def test_an_artifact_that_is_gone_is_not_found(world: World) -> None:
    parts = world.parts()
    ref = parts.register("wine-2026-11-10", "wine")
    blob = parts.package(ref).blob
    world.s3.delete_object(Bucket=world.bucket, Key="blobs/sha256/" + blob.removeprefix("sha256:"))
    with pytest.raises(NotFound, match=r"is gone from the bucket: .*\.$"):
        parts.package(ref)
    with pytest.raises(NotFound, match=r"no blob sha256:.*\.$"):
        parts.build(ref)
    assert parts.registry.fact(ref, Image) is None


@pytest.mark.parametrize(("model", "job"), [e[:2] for e in EXAMPLES], ids=["digits", "wine"])
def test_an_artifact_that_was_changed_gives_no_image(model: str, job: str, world: World) -> None:
    parts = world.parts()
    ref = parts.register(job, model)
    key = "blobs/sha256/" + parts.package(ref).blob.removeprefix("sha256:")
    data = bytearray(world.s3.get_object(Bucket=world.bucket, Key=key)["Body"].read())
    data[len(data) // 3] ^= 1
    world.s3.put_object(Bucket=world.bucket, Key=key, Body=bytes(data))
    with pytest.raises(Refused, match=r"\.$"):
        parts.build(ref)
    assert parts.registry.fact(ref, Image) is None
    assert not [name for name in world.files() if name.endswith("index.json")]


def test_building_before_packaging_is_a_conflict(world: World) -> None:
    parts = world.parts()
    ref = parts.register("wine-2026-11-10", "wine")
    for _ in range(2):
        with pytest.raises(Conflict, match=r"^wine@1 is not packaged yet: run `sluice package wine@1` first\.$"):
            parts.build(ref)
        parts.scan(ref)
    assert world.files() == {}


def test_a_version_that_is_not_there_is_not_found(world: World) -> None:
    parts = world.parts()
    for step in (parts.scan, parts.package, parts.build):
        with pytest.raises(NotFound, match="no version m@9"):
            step(VersionRef.parse("m@9"))


NO_MODEL: dict[str, tuple[type[Exception], str, bytes]] = {
    "neither": (InvalidInput, "neither a TorchScript file nor a SavedModel", targz({"weights.h5": b"x"})),
    "nothing": (InvalidInput, "no file at all", targz({})),
    "no archive": (InvalidInput, "not a gzipped tar archive", b"hello"),
    "no bytes": (InvalidInput, "truncated", b""),
    "cut": (InvalidInput, "truncated", targz(SAVED_MODEL)[:-20]),
    "a path that goes up": (Refused, "leaves its folder", targz({**SAVED_MODEL, "../x": b""})),
    "two models": (InvalidInput, "more than one model", targz({**SAVED_MODEL, "other/saved_model.pb": b""})),
}


@pytest.mark.parametrize(("kind", "told", "archive"), NO_MODEL.values(), ids=NO_MODEL.keys())
def test_an_output_without_a_model_leaves_nothing_but_the_version(
    kind: type[Exception], told: str, archive: bytes, world: World, zipped: Callable[..., bytes]
) -> None:
    if told == "which Sluice adds itself":
        script = zipped([("m/code/a.py", b""), ("m/constants.pkl", b""), ("m/data.pkl", b"")])
        archive = targz({"MAR-INF/MANIFEST.json": b"{}", "model.pt": script})
    ref = world.parts().register(world.job(archive))
    with pytest.raises(kind, match=told) as caught:
        world.parts().package(ref)
    assert type(caught.value) is kind
    assert not [key for key in world.objects() if key.startswith(("blobs/", "uploads/"))]
    facts = world.parts().registry.facts(ref)
    assert (facts.artifact, facts.image) == (None, None)
    assert (facts.scan is None) is (told != "which Sluice adds itself")


def test_a_model_of_several_parts_is_stored_by_its_digest_and_leaves_no_upload(world: World) -> None:
    weights = hashlib.shake_128(b"weights").digest(17 << 20)
    large = PB.replace("saved_model.pb", "assets/large")
    files = {**SAVED_MODEL, large: weights}
    parts = world.parts()
    ref = parts.register(world.job(targz(files)))
    artifact = parts.package(ref)
    assert artifact.size > 17 << 20
    assert [key for key in world.objects() if key.startswith(("blobs/", "uploads/"))] == [
        "blobs/sha256/" + artifact.blob.removeprefix("sha256:")
    ]
    assert world.s3.list_multipart_uploads(Bucket=world.bucket).get("Uploads", []) == []
    parts.build(ref)
    (found,) = (data for data in world.files().values() if len(data) > 17 << 20)
    assert weights in found

    changed = {**files, large: weights[:-1] + b"!"}
    again = world.parts()
    other = again.register(world.job(targz(files)))
    again.scan(other)
    with pytest.raises(Refused, match="holds other bytes"):
        again._replace(outputs=Other(targz(changed))).package(other)
    assert len([key for key in world.objects() if key.startswith(("blobs/", "uploads/"))]) == 1
    assert world.s3.list_multipart_uploads(Bucket=world.bucket).get("Uploads", []) == []
