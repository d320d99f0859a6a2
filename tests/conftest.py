"""Fixtures that several packages' tests share: real servers, started once for each test process."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from registry.aws import Clients
from registry.progress import Silent
from sluice.demo.endpoints import create_bucket
from sluice.demo.stack import Endpoints, Stack

# machines differ and are shared: no test may fail because one was slow
settings.register_profile("sluice", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sluice")

EXAMPLES = Path(__file__).parents[1] / "examples"
TRAINING_BUCKET = "sluice-demo-training"


@pytest.fixture(scope="session")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """SeaweedFS and moto, with the example training jobs done and their archives in place, and four that are not."""
    jobs = [json.loads(path.read_bytes()) for path in sorted(EXAMPLES.glob("*/jobs/*/job.json"))]
    for status in ("InProgress", "Stopping", "Stopped", "Failed"):
        jobs.append({**jobs[0], "TrainingJobName": f"job-{status.lower()}", "TrainingJobStatus": status})
    jobs[-1]["FailureReason"] = "AlgorithmError: out of memory"
    with Stack.start(tmp_path_factory.mktemp("stack"), jobs, progress=Silent()) as stack:
        create_bucket(stack.endpoints, TRAINING_BUCKET)
        s3 = stack.endpoints.client("s3")
        for archive in EXAMPLES.glob("*/jobs/*/model.tar.gz"):
            key = f"output/{archive.parent.name}/output/model.tar.gz"
            s3.put_object(Bucket=TRAINING_BUCKET, Key=key, Body=archive.read_bytes())
        s3.close()
        yield stack.endpoints


@pytest.fixture
def aws(endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Endpoints:
    """The same, with this process's AWS environment pointing at it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in endpoints.environment().items():
        monkeypatch.setenv(name, value)
    return endpoints


@pytest.fixture
def clients(aws: Endpoints) -> Clients:
    """Sluice's own AWS clients, talking to the stack."""
    return Clients()


@pytest.fixture
def new_bucket(endpoints: Endpoints) -> Iterator[Callable[[], str]]:
    """Makes an empty bucket on SeaweedFS, which holds some 70 at once, and drops it after the test."""
    made: list[str] = []

    def make() -> str:
        made.append(f"t-{uuid.uuid4().hex[:20]}")
        create_bucket(endpoints, made[-1])
        return made[-1]

    yield make
    s3 = endpoints.client("s3")
    for name in made:
        s3.delete_bucket(Bucket=name)  # SeaweedFS deletes what is in it, too
    s3.close()


@pytest.fixture
def examples() -> Path:
    """The folder of example models."""
    return EXAMPLES


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Debian's docker-registry on loopback, `host` and `folder`, for anyone to push to; it keeps all to the end."""
    from tests.pipelines.registries import serve

    with serve(tmp_path_factory.mktemp("registry")) as registry:
        yield registry
