from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registry.aws import Clients
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from registry.progress import Silent
from registry.sagemaker import SageMakerSources
from sluice.demo.endpoints import Endpoints, create_bucket
from sluice.demo.stack import Stack

JOBS = sorted((Path(__file__).parents[2] / "examples").glob("*/jobs/*/job.json"))
BUCKET = "sluice-demo-training"


def job(name: str, **outcome: str) -> dict[str, Any]:
    template = json.loads(JOBS[0].read_bytes())
    template.pop("Tags", None)
    return {**template, "TrainingJobName": name, **outcome}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """A stack of its own, whose jobs came to other ends than those of the examples."""
    jobs = [
        *(json.loads(path.read_bytes()) for path in JOBS),
        job("running", TrainingJobStatus="InProgress"),
        job("stopping", TrainingJobStatus="Stopping"),
        job("stopped", TrainingJobStatus="Stopped"),
        job("failed", TrainingJobStatus="Failed", FailureReason="AlgorithmError: CUDA out of memory."),
        job("failed-silently", TrainingJobStatus="Failed"),
        job("lost-output"),
        job("replaced"),
    ]
    with Stack.start(tmp_path_factory.mktemp("jobs"), jobs, progress=Silent()) as stack:
        create_bucket(stack.endpoints, BUCKET)
        s3 = stack.endpoints.client("s3")
        for path in JOBS:
            archive = (path.parent / "model.tar.gz").read_bytes()
            s3.put_object(Bucket=BUCKET, Key=f"output/{path.parent.name}/output/model.tar.gz", Body=archive)
        s3.put_object(Bucket=BUCKET, Key="output/replaced/output/model.tar.gz", Body=b"first")
        s3.close()
        yield stack.endpoints


@pytest.fixture
def sources(stack: Endpoints, aws: Endpoints, monkeypatch: pytest.MonkeyPatch) -> SageMakerSources:
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    return SageMakerSources(Clients())


@pytest.mark.parametrize("path", JOBS, ids=[path.parent.name for path in JOBS])
def test_all_that_sagemaker_knows_of_a_job_is_kept(sources: SageMakerSources, path: Path) -> None:
    given, archive = json.loads(path.read_bytes()), (path.parent / "model.tar.gz").read_bytes()
    name = given["TrainingJobName"]
    source = sources.find(name)
    assert source.uri == f"s3://{BUCKET}/output/{name}/output/model.tar.gz"
    assert source.size == len(archive)
    assert b"".join(sources.chunks(source)) == archive
    training = source.training
    assert training.job == name
    assert training.arn == f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}"
    assert training.image == given["AlgorithmSpecification"]["TrainingImage"]
    assert training.hyperparameters == given["HyperParameters"]
    assert list(training.hyperparameters) == sorted(given["HyperParameters"])
    assert training.metrics == {m["MetricName"]: pytest.approx(m["Value"]) for m in given["FinalMetricDataList"]}
    assert [(channel.name, channel.uri) for channel in training.inputs] == [
        (channel["ChannelName"], channel["DataSource"]["S3DataSource"]["S3Uri"]) for channel in given["InputDataConfig"]
    ]
    assert training.instance_type == given["ResourceConfig"]["InstanceType"]
    assert training.instance_count == given["ResourceConfig"]["InstanceCount"]
    assert training.started_at
    assert training.ended_at
    assert training.started_at <= training.ended_at <= datetime.now(UTC)
    assert sources.find(training.arn) == source


@pytest.mark.parametrize("name", ["nobody", "nobody-2026-11-01", "a" * 63, "not/a/name", "spaces are bad", "é"])
def test_an_unknown_job(sources: SageMakerSources, name: str) -> None:
    with pytest.raises(NotFound, match=rf"^SageMaker has no training job '{name}' in this account and region: check"):
        sources.find(name)


def test_no_name_at_all(sources: SageMakerSources) -> None:
    with pytest.raises(InvalidInput) as caught:
        sources.find("")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:sagemaker:us-east-1:999999999999:training-job/{}",
        "arn:aws:sagemaker:eu-west-1:123456789012:training-job/{}",
        "arn:aws:sagemaker:us-east-1:123456789012:processing-job/{}",
        "arn:aws:s3:::bucket/{}",
    ],
)
def test_a_namesake_of_another_account_is_not_taken_for_the_job(sources: SageMakerSources, arn: str) -> None:
    arn = arn.format(JOBS[0].parent.name)
    with pytest.raises(NotFound, match=f"^{arn} is .*another account or region"):
        sources.find(arn)


def test_an_arn_of_no_job(sources: SageMakerSources) -> None:
    with pytest.raises(NotFound, match="no training job 'nobody'"):
        sources.find("arn:aws:sagemaker:us-east-1:123456789012:training-job/nobody")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("running", r"^Training job running is not finished \(InProgress\): register it when it has completed\.$"),
        ("stopping", r"^Training job stopping is not finished \(Stopping\): register it when it has completed\.$"),
        ("stopped", r"^Training job stopped was stopped before it completed: register one that completed\.$"),
        (
            "failed",
            r"^Training job failed failed \(AlgorithmError: CUDA out of memory\): register one that completed\.$",
        ),
        (
            "failed-silently",
            r"^Training job failed-silently failed \(no reason given\): register one that completed\.$",
        ),
    ],
)
def test_a_job_that_did_not_complete(sources: SageMakerSources, name: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        sources.find(name)


def test_a_job_whose_output_is_gone(sources: SageMakerSources) -> None:
    uri = f"s3://{BUCKET}/output/lost-output/output/model.tar.gz"
    with pytest.raises(NotFound, match=f"^Training job lost-output says its output is {uri}, but nothing is there: "):
        sources.find("lost-output")


def test_an_output_that_was_replaced_or_removed_after_it_was_found(sources: SageMakerSources, stack: Endpoints) -> None:
    source = sources.find("replaced")
    assert b"".join(sources.chunks(source)) == b"first"
    where = {"Bucket": BUCKET, "Key": "output/replaced/output/model.tar.gz"}
    s3 = stack.client("s3")
    s3.put_object(**where, Body=b"other")  # type: ignore[arg-type]  # the stubs want the names spelt out
    with pytest.raises(Conflict, match=r"was replaced after it was registered: restore it, or train again\.$"):
        list(sources.chunks(source))
    assert sources.find("replaced").etag != source.etag
    s3.put_object(**where, Body=b"first")  # type: ignore[arg-type]  # as above
    assert b"".join(sources.chunks(source)) == b"first"
    s3.delete_object(**where)  # type: ignore[arg-type]  # as above
    with pytest.raises(NotFound, match=r"model.tar.gz is gone: restore it, or train again\.$"):
        list(sources.chunks(source))
    s3.close()
