"""What is made of SageMaker's answers: what is too much is cut or left out, and a commit is found where it is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import limits
from registry.facts import Source, SourceKind, Training
from registry.training import commit_of, git_commit, job_of_output, package_job, parameters, training_of

ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/j"
SHA = "0123456789abcdef0123456789abcdef01234567"


def answer(**more: Any) -> Any:
    return {"TrainingJobName": "j", "TrainingJobArn": ARN, **more}


def training(**more: Any) -> Training:
    return Training(job="j", arn=ARN, image="i", **more)


def test_a_job_of_which_little_is_told() -> None:
    assert training_of(answer(), {}) == Training(job="j", arn=ARN, image="")


def test_what_a_job_cost() -> None:
    moments = [datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in (1, 2, 3)]
    told = training_of(
        answer(
            BillableTimeInSeconds=77,
            CreationTime=moments[0],
            TrainingStartTime=moments[1],
            TrainingEndTime=moments[2],
            OutputDataConfig={"S3OutputPath": "s3://b/out"},
            RoleArn="arn:aws:iam::1:role/r",
        ),
        {"b": "2", "a": "1"},
    )
    assert (told.billable_seconds, told.output, told.role) == (77, "s3://b/out", "arn:aws:iam::1:role/r")
    assert [told.submitted_at, told.started_at, told.ended_at] == moments
    assert list(told.tags.items()) == [("a", "1"), ("b", "2")]


WILD = st.text(max_size=300) | st.sampled_from(["x" * 7_000, "\u2028", "\x85", "\ud800", "a\nb\tc"])


@given(
    values=st.dictionaries(WILD, WILD, max_size=20),
    tags=st.dictionaries(WILD, WILD, max_size=60),
    metrics=st.lists(st.tuples(WILD, st.floats(width=32)), max_size=20),
)
def test_whatever_sagemaker_says_fits(
    values: dict[str, str], tags: dict[str, str], metrics: list[tuple[str, float]]
) -> None:
    told = [{"MetricName": name, "Value": value} for name, value in metrics]
    made = training_of(answer(HyperParameters=values, FinalMetricDataList=told), tags)
    assert Training.model_validate_json(made.to_bytes()).job == "j"
    assert set(made.hyperparameters) <= set(values)
    assert set(made.tags) <= set(tags)
    assert set(made.metrics) <= {name for name, _ in metrics}


def test_too_many_are_left_out_by_name() -> None:
    kept = parameters({f"{n:04}": "x" for n in reversed(range(limits.PARAMETERS_MAX + 9))})
    assert list(kept) == [f"{n:04}" for n in range(limits.PARAMETERS_MAX)]


@pytest.mark.parametrize(
    "name",
    [
        "git-commit",
        "git_commit",
        "GIT_COMMIT",
        "gitCommit",
        "commit",
        "Commit-Id",
        "commit_sha",
        "team:git-commit",
        "ci/commit",
        "mlflow.source.git.commit",
        "CI_COMMIT_SHA",
        "GITHUB_SHA",
        "git.sha",
    ],
)
@pytest.mark.parametrize("where", ["tags", "hyperparameters"])
def test_a_commit_by_many_names(name: str, where: str) -> None:
    assert git_commit(training(**{where: {"other": "deadbeef", name: SHA}})) == SHA


@pytest.mark.parametrize(
    ("value", "commit"),
    [
        ("abcdef1", "abcdef1"),
        ("ABCDEF1", "abcdef1"),
        (f'"{SHA}"', SHA),
        (f" {SHA}\n", SHA),
        ("a" * 64, "a" * 64),
        ("a" * 65, ""),
        ("abcdef", ""),
        ("main", ""),
        ("v1.2.3", ""),
        ('"abcdef1', ""),
        ("", ""),
        ('""', ""),
        ("abcdefg", ""),
    ],
)
def test_only_what_looks_like_a_commit_is_one(value: str, commit: str) -> None:
    assert git_commit(training(hyperparameters={"git-commit": value})) == commit


def test_which_commit_is_taken_of_several() -> None:
    both = training(tags={"commit": "1111111"}, hyperparameters={"git_commit": "2222222"})
    assert git_commit(both) == "1111111"
    assert git_commit(training(tags={"commit": "1111111", "git-commit": "2222222"})) == "2222222"
    assert git_commit(training(tags={"commit": "unknown"}, hyperparameters={"commit": "3333333"})) == "3333333"
    assert git_commit(training()) == git_commit(None) == ""
    assert git_commit(training(tags={"recommit": "1111111"})) == ""


def test_the_commit_of_a_package() -> None:
    source = Source(kind=SourceKind.MODEL_PACKAGE, uri="s3://b/k", size=1, package="p", parameters={"CommitId": SHA})
    assert commit_of(source) == SHA
    told = source.model_copy(update={"training": training(tags={"commit": "1111111"})})
    assert commit_of(told) == "1111111"


@pytest.mark.parametrize(
    ("uri", "job"),
    [
        ("s3://b/out/fraud-1/output/model.tar.gz", "fraud-1"),
        ("s3://b/fraud-1/output/model.tar.gz", "fraud-1"),
        ("s3://b/fraud_1/output/model.tar.gz", None),
        ("s3://b/out/fraud-1/model.tar.gz", None),
        ("s3://b/output/model.tar.gz", None),
    ],
)
def test_the_job_that_an_address_may_tell(uri: str, job: str | None) -> None:
    assert job_of_output(uri) == job


@pytest.mark.parametrize(
    ("by", "job"),
    [
        (ARN, "j"),
        ("arn:aws-cn:sagemaker:cn-north-1:1:training-job/x-1", "x-1"),
        ("arn:aws:sagemaker:us-east-1:1:pipeline/p", None),
        ("j", None),
        ("", None),
    ],
)
def test_the_job_that_a_package_names(by: str, job: str | None) -> None:
    told: Any = {"MetadataProperties": {"GeneratedBy": by}}
    assert package_job(told) == job
