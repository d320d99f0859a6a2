"""The register step: what a text names, what goes into the version, and the sweep over finished jobs."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipelines.steps.register import RegisterInput, SweepInput, Swept, find, register, sweep
from registry.aws import Clients
from registry.errors import InvalidInput, NotFound, Refused, Unavailable
from registry.facts import Source, SourceKind, Version
from registry.memory import MemoryBlobs
from registry.progress import Silent
from registry.registry import Registry
from registry.sagemaker import SageMakerSources
from registry.storage import Storage
from sluice.demo.endpoints import Endpoints

TRAINING_BUCKET = "sluice-demo-training"
SHA = "0123456789abcdef0123456789abcdef01234567"


class Heard:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.facts: list[str] = []

    def bytes(self, what: str, done: int, total: int | None) -> None:
        pass

    def fact(self, text: str) -> None:
        self.facts.append(text)


class Asked:
    """Sources that say what they were asked for."""

    def __getattr__(self, verb: str) -> Any:
        return lambda text: (verb, text)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("fraud-2026-11-01", "find"),
        ("arn:aws:sagemaker:us-east-1:123456789012:training-job/fraud", "find"),
        ("s3://bucket/model.tar.gz", "find_s3"),
        ("s3://", "find_s3"),
        ("arn:aws:sagemaker:us-east-1:123456789012:model-package/fraud/7", "find_package"),
        ("arn:aws-cn:sagemaker:cn-north-1:123456789012:model-package/alone", "find_package"),
        ("fraud/7", "find_package"),
        ("fraud/seven", "find"),
        ("model.tar.gz", "find"),
        ("", "find"),
    ],
)
def test_what_a_text_names(text: str, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fraud").mkdir()
    for name in ("fraud-2026-11-01", "model.tar.gz", "fraud/7", "fraud/seven"):
        (tmp_path / name).write_bytes(b"not looked at")
    sources: Any = Asked()
    assert find(sources, None, text, Silent()) == (asked, text)
    assert find(sources, MemoryBlobs(), text, Silent()) == (asked, text)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work" / "model").mkdir(parents=True)
    (tmp_path / "work" / "model" / "saved_model.pb").write_bytes(b"pb")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("text", ["./model", "../work/model", "{}/work/model", "~/work/model", "./model/"])
def test_a_path_is_packed_and_stored(text: str, home: Path) -> None:
    sources: Any = Asked()
    blobs = MemoryBlobs()
    source = find(sources, blobs, text.format(home), Silent())
    data = b"".join(blobs.chunks(source.digest or ""))
    assert source == Source(
        kind=SourceKind.UPLOAD,
        uri="sha256:" + hashlib.sha256(data).hexdigest(),
        digest="sha256:" + hashlib.sha256(data).hexdigest(),
        size=len(data),
    )
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["saved_model.pb"]


@pytest.mark.parametrize("text", ["./model", "../x", "/etc/passwd", "~", "~root/x", ".", "..", "/", "./a\nb"])
def test_a_path_is_not_read_for_whoever_asks_from_elsewhere(text: str, home: Path) -> None:
    sources: Any = Asked()
    with pytest.raises(InvalidInput, match="is a path, which is not read from here: upload the file first"):
        find(sources, None, text, Silent())


def test_a_path_to_nothing(home: Path) -> None:
    sources: Any = Asked()
    with pytest.raises(NotFound, match=r"^There is nothing at none: check the path\.$"):
        find(sources, MemoryBlobs(), "./none", Silent())
    with pytest.raises(NotFound, match=r"^Nobody has the home folder of ~nobody-of-that-name/model: check"):
        find(sources, MemoryBlobs(), "~nobody-of-that-name/model", Silent())


@pytest.fixture(scope="module")
def sources(endpoints: Endpoints) -> Iterator[SageMakerSources]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in endpoints.environment().items():
            patch.setenv(name, value)
        sources = SageMakerSources(Clients())
    yield sources
    sources._sagemaker.close()
    sources._s3.close()


@pytest.fixture
def storage() -> Storage:
    return Storage.memory()


@pytest.fixture
def registry(storage: Storage) -> Registry:
    return Registry(storage)


def train(sources: SageMakerSources, name: str, *, output: bool = True, **more: Any) -> None:
    path = Path(__file__).parents[2] / "examples/digits/jobs/digits-2026-11-08/job.json"
    request = {k: v for k, v in json.loads(path.read_bytes()).items() if k not in ("FinalMetricDataList", "Tags")}
    sources._sagemaker.create_training_job(**{**request, "TrainingJobName": name, **more})
    if output:
        sources._s3.put_object(Bucket=TRAINING_BUCKET, Key=f"output/{name}/output/model.tar.gz", Body=b"model")


Register = Callable[..., Version]


@pytest.fixture
def registering(sources: SageMakerSources, storage: Storage, registry: Registry) -> Register:
    def run(source: str, progress: Any = None, **more: Any) -> Version:
        request = RegisterInput(source=source, model="m", actor="tests", **more)
        return register(request, sources, storage.blobs, registry, progress or Silent())

    return run


def test_what_the_job_and_the_caller_say_goes_into_the_version(
    sources: SageMakerSources, registry: Registry, registering: Register
) -> None:
    name = f"job-{uuid4().hex[:12]}"
    train(sources, name, Tags=[{"Key": "git-commit", "Value": SHA.upper()}])
    version = registering(name, metrics={"auc": 0.9}, tags={"team": "fraud"})
    assert registry.version(version.ref) == version
    assert version.git_commit == SHA
    assert version.metrics == {**(version.source.training.metrics if version.source.training else {}), "auc": 0.9}
    assert version.tags == {"team": "fraud"}
    assert registering(name, git_commit="abcdef1") == version


def test_the_callers_commit_counts_more(sources: SageMakerSources, registering: Register) -> None:
    name = f"job-{uuid4().hex[:12]}"
    train(sources, name, HyperParameters={"git-commit": f'"{SHA}"'})
    assert registering(name, git_commit="abcdef1").git_commit == "abcdef1"


def test_a_path_becomes_a_version_once(home: Path, registering: Register, storage: Storage) -> None:
    heard = Heard()
    version = registering("./model", heard)
    assert version.source.kind is SourceKind.UPLOAD
    assert version.output == "blobs/sha256/" + (version.source.digest or "").removeprefix("sha256:")
    assert b"".join(storage.outputs.chunks(version)) == b"".join(storage.blobs.chunks(version.source.digest or ""))
    assert registering("~/work/model", heard) == version
    (home / "work/model/saved_model.pb").write_bytes(b"pb2")
    assert registering("./model", heard).number == 2
    size, uri = version.source.size, version.source.uri
    assert heard.facts[:2] == [
        f"m@1 registered: {uri}, {size} bytes at {uri}",
        f"m@1 was registered already: {uri}, {size} bytes at {uri}",
    ]


def test_an_archive_in_s3_that_is_written_over_is_another_version(
    sources: SageMakerSources, registering: Register
) -> None:
    key = f"{uuid4().hex}/model.tar.gz"
    numbers = []
    for data in (b"one", b"one", b"two"):
        sources._s3.put_object(Bucket=TRAINING_BUCKET, Key=key, Body=data)
        numbers.append(registering(f"s3://{TRAINING_BUCKET}/{key}").number)
    assert numbers == [1, 1, 2]


# the sweep


Sweep = Callable[..., list[Swept]]


@pytest.fixture
def sweeping(sources: SageMakerSources, registry: Registry) -> Sweep:
    def run(name: str, progress: Any = None, **more: Any) -> list[Swept]:
        since = more.pop("since", datetime.now(UTC) - timedelta(hours=1))
        request = SweepInput(since=since, model="m", actor="sweeper", name=name, **more)
        return list(sweep(request, sources, registry, progress or Silent()))

    return run


def test_every_new_job_is_registered_once(sources: SageMakerSources, registry: Registry, sweeping: Sweep) -> None:
    batch = uuid4().hex[:12]
    for n in range(3):
        train(sources, f"{batch}-{n}", Tags=[{"Key": "git-commit", "Value": SHA}, {"Key": "n", "Value": str(n % 2)}])
    [one] = sweeping(f"{batch}-*", tag=("n", "1"))
    assert (one.job, one.problem) == (f"{batch}-1", "")
    assert one.version is not None
    assert (one.version.number, one.version.git_commit, one.version.created_by) == (1, SHA, "sweeper")
    assert [(swept.job, swept.version and swept.version.number) for swept in sweeping(f"{batch}-*")] == [
        (f"{batch}-0", 2),
        (f"{batch}-2", 3),
    ]
    assert sweeping(f"{batch}-*") == []
    assert sweeping(f"{batch}-*", since=datetime.now(UTC) + timedelta(hours=1)) == []


def test_what_was_deleted_does_not_come_back(sources: SageMakerSources, registry: Registry, sweeping: Sweep) -> None:
    batch = uuid4().hex[:12]
    train(sources, f"{batch}-0")
    [swept] = sweeping(f"{batch}-*")
    assert swept.version is not None
    registry.delete(swept.version.ref, actor="tests")
    assert sweeping(f"{batch}-*") == []


def test_one_job_without_output_keeps_no_other_from_it(sources: SageMakerSources, sweeping: Sweep) -> None:
    batch = uuid4().hex[:12]
    train(sources, f"{batch}-0", output=False)
    train(sources, f"{batch}-1")
    heard = Heard()
    lost, found = sweeping(f"{batch}-*", heard)
    assert (lost.job, lost.version) == (f"{batch}-0", None)
    assert lost.problem.startswith(f"Training job {batch}-0 says its output is s3://")
    assert (found.job, found.version and found.version.number) == (f"{batch}-1", 1)
    assert [fact.partition(":")[0] for fact in heard.facts] == [f"{batch}-0 was not registered", "m@1 registered"]
    [again] = sweeping(f"{batch}-*")
    assert again.job == f"{batch}-0"


@pytest.mark.parametrize("error", [Refused("no."), Unavailable("no.")])
def test_a_sweep_that_may_not_list_ends(registry: Registry, error: Exception) -> None:
    class Denied:
        def finished(self, *_: object, **__: object) -> Iterator[str]:
            raise error

    denied: Any = Denied()
    request = SweepInput(since=datetime.now(UTC), model="m", actor="tests")
    with pytest.raises(type(error)):
        list(sweep(request, denied, registry, Silent()))
