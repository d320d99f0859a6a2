"""Registering in this process against bare boto3 that makes the very same requests."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from registry.facts import Source, SourceKind, Training
from registry.progress import Silent
from registry.registry import Registry
from registry.s3 import S3Store
from registry.storage import Storage


@dataclass
class Made:
    """One request that was made: the call of boto3's client that makes it again, but for the key."""

    method: str
    arguments: dict[str, Any]


class Recorded:
    """boto3's client, with a list of what it was asked."""

    def __init__(self, client: Any, made: list[Made]) -> None:
        self._client = client
        self._made = made

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def asked(**arguments: Any) -> Any:
            self._made.append(Made(name, arguments))
            return call(**arguments)

        return asked


class RecordedObjects:
    """What reads and writes records, with a list of the same requests as boto3 makes them."""

    def __init__(self, objects: Any, bucket: str, made: list[Made]) -> None:
        self._objects, self._bucket = objects, bucket
        self._made = made

    def get(self, key: str) -> Any:
        """Read."""
        self._made.append(Made("get_object", {"Bucket": self._bucket, "Key": key}))
        return self._objects.get(key)

    def put_new(self, key: str, data: bytes) -> Any:
        """Create."""
        self._made.append(Made("put_object", {"Bucket": self._bucket, "Key": key, "Body": data, "IfNoneMatch": "*"}))
        return self._objects.put_new(key, data)

    def put_over(self, key: str, data: bytes, etag: str) -> Any:
        """Replace."""
        self._made.append(Made("put_object", {"Bucket": self._bucket, "Key": key, "Body": data, "IfMatch": etag}))
        return self._objects.put_over(key, data, etag)


def source(data: bytes, storage: Storage) -> Source:
    """A source whose bytes the registry has already, as an upload's are."""
    blob = storage.blobs.put([data], what="source", progress=Silent())
    return Source(kind=SourceKind.UPLOAD, uri=blob.digest, digest=blob.digest, size=blob.size)


def job(bucket: str, key: str, etag: str, size: int) -> Source:
    """A training job's output in S3, of which the registry takes a copy."""
    training = Training(
        job=key,
        arn=f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{key}",
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/training:2.3",
        hyperparameters={"lr": "0.1", "epochs": "20", "depth": "6"},
        metrics={"auc": 0.93, "loss": 0.21},
    )
    return Source(uri=f"s3://{bucket}/{key}", etag=etag, size=size, training=training)


def requests_of_one(storage: Storage, one: Source) -> list[Made]:
    """What registering one more version asks of S3."""
    made: list[Made] = []
    with ExitStack() as changes:
        for view in (storage.store, storage.outputs, storage.bytes):
            changes.enter_context(_replaced(view, "_s3", lambda client: Recorded(client, made)))
        bucket = getattr(storage.store, "bucket", "")
        changes.enter_context(
            _replaced(storage.store, "_objects", lambda objects: RecordedObjects(objects, bucket, made))
        )
        registry = Registry(storage)
        registry.register("recorded", one, actor="bench")
        made.clear()
        registry.register("recorded", one.model_copy(update=_another(storage, one)), actor="bench")
    return made


@contextmanager
def _replaced(view: Any, name: str, by: Any) -> Iterator[None]:
    was = getattr(view, name)
    setattr(view, name, by(was))
    try:
        yield
    finally:
        setattr(view, name, was)


def _another(storage: Storage, one: Source) -> dict[str, Any]:
    if one.training is not None:
        return {"training": one.training.model_copy(update={"arn": f"{one.training.arn}-another"})}
    return source(uuid4().bytes, storage).model_dump(include={"uri", "digest", "size"})


def replay(client: Any, made: list[Made]) -> None:
    """Ask the same of S3 under other keys, with nothing around it."""
    fresh = uuid4().hex
    for request in made:
        arguments = dict(request.arguments)
        if "IfNoneMatch" in arguments or request.method == "copy_object":
            arguments["Key"] = f"floor/{fresh}/{arguments['Key']}"
        getattr(client, request.method)(**arguments)


def race(rounds: int, each: int, contestants: dict[str, Any]) -> dict[str, float]:
    """Median operations a second of each, taking turns."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, act in contestants.items():
            begun = time.perf_counter()
            for count in range(each):
                act(number * each + count)
            rates[name].append(each / (time.perf_counter() - begun))
    return {name: statistics.median(found) for name, found in rates.items()}


def measure(storage: Storage, client: Any, bucket: str, rounds: int = 7, each: int = 40) -> dict[str, dict[str, float]]:
    """Rates of registering and of its floor, and the number of requests, without and with a copy of the bytes."""
    assert isinstance(storage.store, S3Store)
    results = {}
    total = rounds * each + 3
    uploads = [source(f"{uuid4()}".encode(), storage) for _ in range(total)]
    put = client.put_object(Bucket=bucket, Key="train/model.tar.gz", Body=b"x" * 4096)
    jobs = [job(bucket, "train/model.tar.gz", put["ETag"], 4096) for _ in range(total)]
    jobs = [replace_arn(one, number) for number, one in enumerate(jobs)]
    for name, sources in (("bytes already owned", uploads), ("with a copy of the bytes", jobs)):
        registry = Registry(storage)
        made = requests_of_one(storage, sources[-1])
        rates = race(
            rounds,
            each,
            {
                "floor": lambda _, made=made: replay(client, made),
                "sluice": lambda n, sources=sources, registry=registry, name=name: registry.register(
                    f"bench-{name[0]}", sources[n], actor="bench"
                ),
            },
        )
        results[name] = {**rates, "requests": float(len(made))}
    return results


def replace_arn(one: Source, number: int) -> Source:
    """The same output as another job's."""
    assert one.training is not None
    training = one.training.model_copy(update={"arn": f"{one.training.arn}-{number}"})
    return one.model_copy(update={"training": training})


def import_seconds() -> dict[str, float]:
    """CPU seconds of `import boto3`, and of `import registry.registry` after it; the best of seven processes."""
    code = (
        "import time; a = time.process_time(); import boto3; b = time.process_time();"
        " import registry.registry; print(b - a, time.process_time() - b)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(7)]
    pairs = [tuple(map(float, run.split())) for run in runs]
    return {"boto3": min(pair[0] for pair in pairs), "registry": min(pair[1] for pair in pairs)}
