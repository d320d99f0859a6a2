from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from registry.aws import Clients
from registry.errors import InvalidInput, NotFound, Refused
from registry.facts import SourceKind
from registry.progress import Silent
from registry.sagemaker import SageMakerSources
from registry.training import git_commit
from sluice.demo.endpoints import Endpoints, create_bucket
from sluice.demo.stack import Stack

JOBS = sorted((Path(__file__).parents[2] / "examples").glob("*/jobs/*/job.json"))
BUCKET = "sluice-demo-training"
ACCOUNT = "arn:aws:sagemaker:us-east-1:123456789012"
ODD = {
    "git-commit": '"0123456789abcdef0123456789abcdef01234567"',
    "long": "x" * 7000,
    "two\nlines": "left out",
    "lines": "a\nb\x00",
}


def job(name: str, **outcome: Any) -> dict[str, Any]:
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
        job(
            "tagged",
            Tags=[{"Key": f"k{n:02}", "Value": f"é {n}"} for n in range(50)],
            HyperParameters=ODD,
            BillableTimeInSeconds=77,
        ),
        job("sweep-a", Tags=[{"Key": "team", "Value": "fraud"}, {"Key": "sluice", "Value": ""}]),
        job("sweep-b", Tags=[{"Key": "team", "Value": "churn"}]),
        job("sweep-c"),
        job("not-a-sweep-d"),
        *(job(f"many-{n:03}") for n in range(120)),
    ]
    with Stack.start(tmp_path_factory.mktemp("jobs"), jobs, progress=Silent()) as stack:
        create_bucket(stack.endpoints, BUCKET)
        s3 = stack.endpoints.client("s3")
        for path in JOBS:
            archive = (path.parent / "model.tar.gz").read_bytes()
            s3.put_object(Bucket=BUCKET, Key=f"output/{path.parent.name}/output/model.tar.gz", Body=archive)
        for name in ("tagged", "sweep-a"):
            s3.put_object(Bucket=BUCKET, Key=f"output/{name}/output/model.tar.gz", Body=b"first")
        s3.close()
        yield stack.endpoints


@pytest.fixture(scope="module")
def sources(stack: Endpoints) -> Iterator[SageMakerSources]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment().items():
            patch.setenv(name, value)
        sources = SageMakerSources(Clients())
    yield sources
    sources._sagemaker.close()
    sources._s3.close()


@pytest.fixture
def denied(sources: SageMakerSources) -> Iterator[Callable[[str], None]]:
    """Has AWS deny an operation for the rest of the test; what it says is put where its answer comes in."""
    events, given = sources._sagemaker.meta.events, []

    def no(request: Any, **_: object) -> AWSResponse:
        answer = AWSResponse(request.url, 400, {"Content-Type": "application/x-amz-json-1.1"}, None)
        answer._content = b'{"__type": "AccessDeniedException", "Message": "not authorized"}'
        return answer

    def deny(operation: str) -> None:
        given.append(f"before-send.sagemaker.{operation}")
        events.register(given[-1], no)

    yield deny
    for event in given:
        events.unregister(event, no)


@pytest.mark.parametrize("path", JOBS, ids=[path.parent.name for path in JOBS])
def test_all_that_sagemaker_knows_of_a_job_is_kept(sources: SageMakerSources, path: Path) -> None:
    given, archive = json.loads(path.read_bytes()), (path.parent / "model.tar.gz").read_bytes()
    name = given["TrainingJobName"]
    source = sources.find(name)
    assert source.uri == f"s3://{BUCKET}/output/{name}/output/model.tar.gz"
    assert source.size == len(archive)
    assert source.kind is SourceKind.TRAINING_JOB
    assert source.etag.strip('"') == hashlib.md5(archive).hexdigest()
    training = source.training
    assert training.job == name
    assert training.arn == f"{ACCOUNT}:training-job/{name}"
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
    assert training.submitted_at <= training.started_at <= training.ended_at <= datetime.now(UTC)
    assert training.output == f"s3://{BUCKET}/output"
    assert training.role == given["RoleArn"]
    assert training.tags == {"team": "examples"}
    assert training.billable_seconds == given.get("BillableTimeInSeconds")
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


def test_tags_and_odd_hyperparameters(sources: SageMakerSources) -> None:
    training = sources.find("tagged").training
    assert training.tags == {f"k{n:02}": f"é {n}" for n in range(50)}
    assert training.hyperparameters == {
        "git-commit": ODD["git-commit"],
        "lines": "a\nb\ufffd",
        "long": "x" * 5999 + "…",
    }
    assert training.billable_seconds == 77
    assert git_commit(training) == "0123456789abcdef0123456789abcdef01234567"


def test_a_job_whose_tags_may_not_be_read_has_none(sources: SageMakerSources, denied: Callable[[str], None]) -> None:
    denied("ListTags")
    source = sources.find("tagged")
    assert source.training.tags == {}
    assert source.training.hyperparameters


@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/output/{JOBS[0].parent.name}/output/model.tar.gz"])
def test_an_archive_in_s3(sources: SageMakerSources, uri: str) -> None:
    archive = (JOBS[0].parent / "model.tar.gz").read_bytes()
    source = sources.find_s3(uri)
    assert (source.kind, source.uri, source.size) == (SourceKind.S3, uri, len(archive))
    assert source.etag.strip('"') == hashlib.md5(archive).hexdigest()
    assert (source.training, source.digest, source.package) == (None, None, "")


@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/nothing/model.tar.gz", "s3://no-such-bucket-at-all/model.tar.gz"])
def test_nothing_in_s3(sources: SageMakerSources, uri: str) -> None:
    with pytest.raises(NotFound, match=rf"^There is nothing at {uri}: check the address\.$"):
        sources.find_s3(uri)


@pytest.mark.parametrize("uri", ["s3://", f"s3://{BUCKET}", f"s3://{BUCKET}/", "s3://UPPER/key", "http://a/b", ""])
def test_what_is_no_address_in_s3(sources: SageMakerSources, uri: str) -> None:
    with pytest.raises(InvalidInput, match="write it as s3://bucket/key"):
        sources.find_s3(uri)


ARCHIVE = f"s3://{BUCKET}/output/{JOBS[0].parent.name}/output/model.tar.gz"


@pytest.fixture(scope="module")
def packages(sources: SageMakerSources) -> Callable[..., str]:
    """Makes a model package and gives its ARN."""
    sagemaker = sources._sagemaker
    sagemaker.create_model_package_group(ModelPackageGroupName="Digits")

    def make(uri: str | None, **more: Any) -> str:
        container = {"Image": "serve:1"} | ({"ModelDataUrl": uri} if uri else {})
        specification = {
            "Containers": [container],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        }
        request = {"ModelPackageGroupName": "Digits", "InferenceSpecification": specification, **more}
        return sagemaker.create_model_package(**request)["ModelPackageArn"]

    return make


def test_a_model_package_with_all_that_is_said_of_it(sources: SageMakerSources, packages: Callable[..., str]) -> None:
    job = f"{ACCOUNT}:training-job/tagged"
    arn = packages(
        ARCHIVE,
        CustomerMetadataProperties={"purpose": "test", "CommitId": "theirs"},
        MetadataProperties={"CommitId": "0" * 40, "Repository": "https://git/x", "GeneratedBy": job, "ProjectId": "p"},
    )
    source = sources.find_package(arn)
    assert source.kind is SourceKind.MODEL_PACKAGE
    assert (source.package, source.uri) == (arn, ARCHIVE)
    assert source.size == len((JOBS[0].parent / "model.tar.gz").read_bytes())
    assert source.parameters == {"CommitId": "theirs", "Repository": "https://git/x", "purpose": "test"}
    assert source.training == sources.find("tagged").training
    group, version = arn.split("/")[-2:]
    assert group == "digits"
    assert sources.find_package(f"Digits/{version}") == source


def test_a_model_package_finds_the_job_that_left_its_archive(
    sources: SageMakerSources, packages: Callable[..., str], denied: Callable[[str], None]
) -> None:
    arn = packages(ARCHIVE)
    source = sources.find_package(arn)
    assert source.training == sources.find(JOBS[0].parent.name).training
    assert source.parameters == {}
    denied("DescribeTrainingJob")
    assert sources.find_package(arn).training is None


@pytest.mark.parametrize(
    "uri", ["output/nobody/output/model.tar.gz", "elsewhere/tagged/output/model.tar.gz", "plain.tar.gz"]
)
def test_a_model_package_of_no_known_job(
    sources: SageMakerSources, packages: Callable[..., str], stack: Endpoints, uri: str
) -> None:
    sources._s3.put_object(Bucket=BUCKET, Key=uri, Body=b"archive")
    arn = packages(f"s3://{BUCKET}/{uri}", MetadataProperties={"GeneratedBy": f"{ACCOUNT}:pipeline/p/execution/e"})
    source = sources.find_package(arn)
    assert (source.size, source.training) == (7, None)


def test_a_model_package_whose_archive_is_its_algorithms(
    sources: SageMakerSources, packages: Callable[..., str]
) -> None:
    algorithm = {"AlgorithmName": f"{ACCOUNT}:training-job/tagged", "ModelDataUrl": ARCHIVE}
    arn = packages(None, ModelPackageGroupName="Digits", SourceAlgorithmSpecification={"SourceAlgorithms": [algorithm]})
    source = sources.find_package(arn)
    assert (source.uri, source.training.job) == (ARCHIVE, "tagged")


def test_model_packages_that_cannot_be_registered(sources: SageMakerSources, packages: Callable[..., str]) -> None:
    lost = packages(f"s3://{BUCKET}/lost.tar.gz")
    with pytest.raises(NotFound, match=f"^Model package {lost} says its archive is .*, but nothing is there: "):
        sources.find_package(lost)
    bare = packages(None)
    with pytest.raises(Refused, match=rf"^Model package {bare} has no model\.tar\.gz: "):
        sources.find_package(bare)


@pytest.mark.parametrize("name", [f"{ACCOUNT}:model-package/digits/99", "nobody"])
def test_no_such_model_package(sources: SageMakerSources, packages: Callable[..., str], name: str) -> None:
    with pytest.raises(NotFound, match=rf"^SageMaker has no model package '{name}' in this account and region: check"):
        sources.find_package(name)


@pytest.mark.parametrize("name", ["nobody/1", "Digits/99", "Digits/0"])
def test_no_such_version_of_a_group(sources: SageMakerSources, packages: Callable[..., str], name: str) -> None:
    with pytest.raises(NotFound, match=r"^SageMaker has no "):
        sources.find_package(name)


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        ("sweep-*", None, ["sweep-a", "sweep-b", "sweep-c"]),
        ("sweep-?", None, ["sweep-a", "sweep-b", "sweep-c"]),
        ("sweep-[!b]", None, ["sweep-a", "sweep-c"]),
        ("*-[a]", None, ["sweep-a"]),
        ("sweep-b", None, ["sweep-b"]),
        ("sweep", None, []),
        ("SWEEP-*", None, []),
        ("under_score*", None, []),
        ("sweep-*", ("team", "fraud"), ["sweep-a"]),
        ("sweep-*", ("team", None), ["sweep-a", "sweep-b"]),
        ("sweep-*", ("sluice", ""), ["sweep-a"]),
        ("sweep-*", ("sluice", "x"), []),
        ("", ("sluice", None), ["sweep-a"]),
    ],
)
def test_finished_jobs_by_name_and_tag(
    sources: SageMakerSources, name: str, tag: tuple[str, str | None] | None, expected: list[str]
) -> None:
    assert list(sources.finished(LONG_AGO, name=name, tag=tag)) == expected


def test_finished_jobs_come_oldest_first_and_all_of_them(sources: SageMakerSources) -> None:
    found = list(sources.finished(LONG_AGO))
    unfinished = {"running", "stopping", "stopped", "failed", "failed-silently"}
    assert len(found) == len(set(found)) == len(JOBS) + 126
    assert unfinished.isdisjoint(found)
    ended = [sources._describe(job)["TrainingEndTime"] for job in found]
    assert ended == sorted(ended)
    assert list(sources.finished(LONG_AGO, name="many-*")) == [f"many-{n:03}" for n in range(120)]
    middle = ended[60]
    assert list(sources.finished(middle)) == found[next(n for n, end in enumerate(ended) if end >= middle) :]
    assert next(sources.finished(middle.astimezone(UTC).replace(tzinfo=None))) in found[:61]
    assert list(sources.finished(datetime.now(UTC) + timedelta(hours=1))) == []


def test_finished_jobs_whose_tags_may_not_be_read(sources: SageMakerSources, denied: Callable[[str], None]) -> None:
    denied("ListTags")
    assert list(sources.finished(LONG_AGO, name="sweep-*")) == ["sweep-a", "sweep-b", "sweep-c"]
    with pytest.raises(Refused, match="SageMaker denies this"):
        list(sources.finished(LONG_AGO, name="sweep-*", tag=("team", None)))
