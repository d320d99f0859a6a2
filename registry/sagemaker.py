"""Finished SageMaker training jobs as the source of a version.

The format is DescribeTrainingJob's response (Amazon SageMaker API reference).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from registry.aws import Answered, Clients, ask
from registry.errors import Conflict, NotFound, Refused
from registry.facts import Channel, Source, Training
from registry.names import S3Uri
from registry.s3read import get_chunks, head

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef


class Sources(Protocol):
    """Where training outputs come from."""

    def find(self, job: str) -> Source:
        """What a finished job left behind."""

    def chunks(self, source: Source) -> Iterator[bytes]:
        """The training output's bytes, just as they were when it was registered."""


class SageMakerSources:
    """Training jobs of the account that the AWS environment names."""

    def __init__(self, clients: Clients) -> None:
        self._sagemaker = clients.sagemaker()
        self._s3 = clients.s3()

    def find(self, job: str) -> Source:
        """The output of a training job, by its name or ARN; two requests.

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
        return Source(uri=str(uri), etag=found.etag, size=found.size, training=_training(answer))

    def chunks(self, source: Source) -> Iterator[bytes]:
        """The training output's bytes, 1 MiB at a time.

        Raises:
            NotFound: the output is gone.
            Conflict: it was replaced after it was registered.
        """
        uri = S3Uri.parse(source.uri)
        found = head(self._s3, uri.bucket, uri.key)
        if found is None:
            raise NotFound(f"The training output {uri} is gone: restore it, or train again.")
        if (found.etag, found.size) != (source.etag, source.size):
            raise Conflict(
                f"The training output {uri} was replaced after it was registered: restore it, or train again."
            )
        return get_chunks(self._s3, uri.bucket, uri.key, found)

    def _describe(self, name: str) -> DescribeTrainingJobResponseTypeDef:
        try:
            return ask("SageMaker", self._sagemaker.describe_training_job, TrainingJobName=name)
        except Answered as error:
            if error.code in ("ValidationException", "ResourceNotFound"):
                raise NotFound(
                    f"SageMaker has no training job {name!r} in this account and region: check the name."
                ) from error
            raise


def _check_completed(answer: DescribeTrainingJobResponseTypeDef) -> None:
    name, status = answer["TrainingJobName"], answer["TrainingJobStatus"]
    if status == "Failed":
        reason = answer.get("FailureReason", "no reason given").rstrip(".")
        raise Refused(f"Training job {name} failed ({reason}): register one that completed.")
    if status == "Stopped":
        raise Refused(f"Training job {name} was stopped before it completed: register one that completed.")
    if status != "Completed":
        raise Refused(f"Training job {name} is not finished ({status}): register it when it has completed.")


def _training(answer: DescribeTrainingJobResponseTypeDef) -> Training:
    resources = answer.get("ResourceConfig", {})
    return Training(
        job=answer["TrainingJobName"],
        arn=answer["TrainingJobArn"],
        image=answer.get("AlgorithmSpecification", {}).get("TrainingImage", ""),
        hyperparameters=dict(sorted(answer.get("HyperParameters", {}).items())),
        metrics={m["MetricName"]: m["Value"] for m in answer.get("FinalMetricDataList", [])},
        inputs=tuple(
            Channel(
                name=channel["ChannelName"],
                uri=channel.get("DataSource", {}).get("S3DataSource", {}).get("S3Uri", ""),
            )
            for channel in answer.get("InputDataConfig", [])
        ),
        instance_type=resources.get("InstanceType", ""),
        instance_count=resources.get("InstanceCount", 0),
        started_at=answer.get("TrainingStartTime"),
        ended_at=answer.get("TrainingEndTime"),
    )
