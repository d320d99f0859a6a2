"""What can be registered: finished SageMaker training jobs, model packages, and archives in S3.

The formats are those of DescribeTrainingJob, ListTrainingJobs, ListTags, DescribeModelPackage and ListModelPackages
(Amazon SageMaker API reference).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol

from registry.aws import Answered, Clients, ask
from registry.errors import NotFound, Refused
from registry.facts import Source, SourceKind, Training
from registry.names import S3Uri
from registry.s3read import Head, head
from registry.training import job_of_output, package_job, package_parameters, package_uri, training_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import (
        DescribeModelPackageOutputTypeDef,
        DescribeTrainingJobResponseTypeDef,
        TrainingJobSummaryTypeDef,
    )

_UNKNOWN = frozenset({"ValidationException", "ValidationError", "ResourceNotFound", "ResourceNotFoundException"})
_GROUP_VERSION = re.compile(r"([A-Za-z0-9](?:-*[A-Za-z0-9]){0,62})/([1-9][0-9]*)")
_WILD = re.compile(r"\*|\?|\[!?\]?[^\]]*\]")
_IN_A_NAME = re.compile(r"[A-Za-z0-9-]{0,63}")


class Sources(Protocol):
    """Where training outputs come from."""

    def find(self, job: str) -> Source:
        """What a finished training job left behind."""

    def find_package(self, package: str) -> Source:
        """What a SageMaker model package is made of."""

    def find_s3(self, uri: str) -> Source:
        """An archive in S3."""

    def finished(self, since: datetime, *, name: str = "", tag: tuple[str, str | None] | None = None) -> Iterator[str]:
        """Names of the training jobs that completed since then, oldest first."""


class SageMakerSources:
    """What the account has that the AWS environment names."""

    def __init__(self, clients: Clients) -> None:
        self._sagemaker = clients.sagemaker()
        self._s3 = clients.s3()

    def find(self, job: str) -> Source:
        """The output of a training job, by its name or ARN; three requests.

        Without the permission for ListTags the job counts as one without tags.

        Raises:
            NotFound: there is no such job, or nothing where it says its output is.
            Refused: the job is not finished, or failed, or was stopped.
        """
        by_arn = job.startswith("arn:")
        answer = self._describe(job.rpartition("/")[2] if by_arn else job)
        if by_arn and answer["TrainingJobArn"] != job:
            raise NotFound(f"{job} is a training job of another account or region: use credentials of that one.")
        _check_completed(answer)
        uri = S3Uri.parse(answer["ModelArtifacts"]["S3ModelArtifacts"])
        found = head(self._s3, uri.bucket, uri.key)
        if found is None:
            raise NotFound(
                f"Training job {answer['TrainingJobName']} says its output is {uri}, but nothing is there:"
                " restore it, or train again."
            )
        return _source(SourceKind.TRAINING_JOB, uri, found, training=self._training(answer))

    def find_package(self, package: str) -> Source:
        """The archive of a model package, by its ARN, its name, or `group/version`; two requests, up to three for the
        training job, and for `group/version` one for each hundred newer versions.

        Its training job is looked up where the package names it, or where a job says that it left this very archive.

        Raises:
            NotFound: there is no such package, or nothing where it says its archive is.
            Refused: the package is not complete, or has no packed archive.
        """
        answer = self._describe_package(package)
        arn, status = answer["ModelPackageArn"], answer["ModelPackageStatus"]
        if status != "Completed":
            raise Refused(f"Model package {arn} is not complete ({status}): register one that is.")
        uri = S3Uri.parse(package_uri(answer))
        found = head(self._s3, uri.bucket, uri.key)
        if found is None:
            raise NotFound(
                f"Model package {arn} says its archive is {uri}, but nothing is there: restore it, or train again."
            )
        training, said = self._training_of_package(answer, str(uri)), package_parameters(answer)
        return _source(SourceKind.MODEL_PACKAGE, uri, found, package=arn, training=training, parameters=said)

    def find_s3(self, uri: str) -> Source:
        """An archive in S3 by its address, `s3://bucket/key`; one request.

        Raises:
            InvalidInput: another shape.
            NotFound: nothing is there.
        """
        place = S3Uri.parse(uri)
        found = head(self._s3, place.bucket, place.key)
        if found is None:
            raise NotFound(f"There is nothing at {place}: check the address.")
        return _source(SourceKind.S3, place, found)

    def finished(self, since: datetime, *, name: str = "", tag: tuple[str, str | None] | None = None) -> Iterator[str]:
        """Names of the training jobs that completed at `since` or later, in order of their end.

        `name` is a pattern as for files, `fraud-*`; `tag` a key with its value, or with None for any value. One request
        for each hundred jobs, and one for each job where a tag is asked for. A `since` without a zone is UTC.

        Raises:
            Refused: the credentials do not allow listing jobs, or their tags where one is asked for.
        """
        since = since if since.tzinfo else since.replace(tzinfo=UTC)
        literal = max(_WILD.split(name), key=len)
        if not _IN_A_NAME.fullmatch(literal):
            return  # no job can have such a name
        contains = {"NameContains": literal} if literal else {}
        ended = [
            (_end(job), job["TrainingJobName"], job["TrainingJobArn"])
            for job in self._pages(
                "list_training_jobs",
                "TrainingJobSummaries",
                StatusEquals="Completed",
                LastModifiedTimeAfter=since - timedelta(seconds=1),
                SortBy="CreationTime",
                SortOrder="Ascending",
                MaxResults=100,
                **contains,
            )
            if _end(job) >= since and (not name or fnmatchcase(job["TrainingJobName"], name))
        ]
        for _, found, arn in sorted(ended):
            if tag is None or _has(self._tags(arn), *tag):
                yield found

    def _training(self, answer: DescribeTrainingJobResponseTypeDef) -> Training:
        try:
            tags = self._tags(answer["TrainingJobArn"])
        except Refused:
            tags = {}
        return training_of(answer, tags)

    def _training_of_package(self, answer: DescribeModelPackageOutputTypeDef, uri: str) -> Training | None:
        named, guessed = package_job(answer), job_of_output(uri)
        for name in dict.fromkeys(name for name in (named, guessed) if name):
            try:
                job = self._describe(name)
            except (NotFound, Refused):  # of another account, long gone, or not ours to read
                continue
            if name == named or job.get("ModelArtifacts", {}).get("S3ModelArtifacts") == uri:
                return self._training(job)
        return None

    def _describe(self, name: str) -> DescribeTrainingJobResponseTypeDef:
        try:
            return ask("SageMaker", self._sagemaker.describe_training_job, TrainingJobName=name)
        except Answered as error:
            if error.code in _UNKNOWN:
                raise NotFound(
                    f"SageMaker has no training job {name!r} in this account and region: check the name."
                ) from error
            raise

    def _describe_package(self, package: str) -> DescribeModelPackageOutputTypeDef:
        grouped = _GROUP_VERSION.fullmatch(package)
        try:
            name = self._package_arn(*grouped.groups()) if grouped else package
            return ask("SageMaker", self._sagemaker.describe_model_package, ModelPackageName=name)
        except Answered as error:
            if error.code in _UNKNOWN:
                raise NotFound(
                    f"SageMaker has no model package {package!r} in this account and region: check the name."
                ) from error
            raise

    def _package_arn(self, group: str, version: str) -> str:
        """A version's ARN, which alone names it, and is in small letters where the group's name is not."""
        found = self._pages(
            "list_model_packages",
            "ModelPackageSummaryList",
            ModelPackageGroupName=group,
            ModelPackageType="Versioned",
            MaxResults=100,
        )
        arn = next((each["ModelPackageArn"] for each in found if each["ModelPackageVersion"] == int(version)), None)
        if arn is None:
            raise NotFound(f"SageMaker has no version {version} in the model package group {group}: check the name.")
        return str(arn)

    def _tags(self, arn: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self._pages("list_tags", "Tags", ResourceArn=arn)}

    def _pages(self, operation: str, items: str, **kwargs: Any) -> Iterator[Any]:
        token: dict[str, str] = {}
        while True:
            page: dict[str, Any] = ask("SageMaker", getattr(self._sagemaker, operation), **kwargs, **token)
            yield from page.get(items, [])
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}


def _source(kind: SourceKind, uri: S3Uri, found: Head, **more: Any) -> Source:
    return Source(kind=kind, uri=str(uri), etag=found.etag, size=found.size, **more)


def _end(job: TrainingJobSummaryTypeDef) -> datetime:
    return job.get("TrainingEndTime") or job.get("LastModifiedTime") or job["CreationTime"]


def _has(tags: dict[str, str], key: str, value: str | None) -> bool:
    return key in tags and value in (None, tags[key])


def _check_completed(answer: DescribeTrainingJobResponseTypeDef) -> None:
    name, status = answer["TrainingJobName"], answer["TrainingJobStatus"]
    if status == "Failed":
        reason = answer.get("FailureReason", "no reason given").rstrip(".")
        raise Refused(f"Training job {name} failed ({reason}): register one that completed.")
    if status == "Stopped":
        raise Refused(f"Training job {name} was stopped before it completed: register one that completed.")
    if status != "Completed":
        raise Refused(f"Training job {name} is not finished ({status}): register it when it has completed.")
