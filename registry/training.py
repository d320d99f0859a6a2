"""What SageMaker answers of training jobs and model packages, as records. No requests.

The formats are DescribeTrainingJob's, ListTags' and DescribeModelPackage's responses (Amazon SageMaker API reference).
What does not fit `registry.limits` never keeps a model out of the registry: a value that is too long is cut and ends in
an ellipsis, control characters become U+FFFD, and what is left out is a name that is too long or empty, and whatever
comes, by name, after the greatest number there may be.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from registry import limits
from registry.errors import Refused
from registry.facts import Channel, Source, Training

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import (
        DescribeModelPackageOutputTypeDef,
        DescribeTrainingJobResponseTypeDef,
        ModelPackageContainerDefinitionOutputTypeDef,
    )

_CUT = "…"
_NOT_IN_A_LINE = ("Cc", "Cs", "Zl", "Zp")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_SAYS_COMMIT = (
    "gitcommit",
    "gitcommitid",
    "gitcommitsha",
    "gitcommithash",
    "gitsha",
    "githash",
    "gitrevision",
    "sourcegitcommit",
    "githubsha",
    "cicommitsha",
    "commitid",
    "commitsha",
    "commithash",
    "commit",
)
"""Names of tags and parameters without their case and punctuation, the plainest first."""
_JOB_ARN = re.compile(r"arn:[^:]+:sagemaker:[^:]*:[^:]*:training-job/([A-Za-z0-9-]+)")
_JOB_OUTPUT = re.compile(r"s3://.+/([A-Za-z0-9-]+)/output/model\.tar\.gz")


def training_of(answer: DescribeTrainingJobResponseTypeDef, tags: Mapping[str, str]) -> Training:
    """A training job's answer and its tags as a record."""
    resources = answer.get("ResourceConfig", {})
    return Training(
        job=answer["TrainingJobName"],
        arn=answer["TrainingJobArn"],
        image=line(answer.get("AlgorithmSpecification", {}).get("TrainingImage", "")),
        hyperparameters=parameters(answer.get("HyperParameters", {})),
        metrics=_metrics((m["MetricName"], m["Value"]) for m in answer.get("FinalMetricDataList", [])),
        inputs=tuple(
            Channel(
                name=line(channel["ChannelName"]),
                uri=line(channel.get("DataSource", {}).get("S3DataSource", {}).get("S3Uri", "")),
            )
            for channel in answer.get("InputDataConfig", [])[: limits.INPUTS_MAX]
        ),
        instance_type=resources.get("InstanceType", ""),
        instance_count=resources.get("InstanceCount", 0),
        output=line(answer.get("OutputDataConfig", {}).get("S3OutputPath", "")),
        role=line(answer.get("RoleArn", "")),
        tags=_tags(tags),
        submitted_at=answer.get("CreationTime"),
        started_at=answer.get("TrainingStartTime"),
        ended_at=answer.get("TrainingEndTime"),
        billable_seconds=answer.get("BillableTimeInSeconds"),
    )


def package_uri(answer: DescribeModelPackageOutputTypeDef) -> str:
    """Where a model package's archive lies: that of its first container, else of its algorithm.

    Raises:
        Refused: it has none, or one that is not packed.
    """
    containers = answer.get("InferenceSpecification", {}).get("Containers", [])
    algorithms = answer.get("SourceAlgorithmSpecification", {}).get("SourceAlgorithms", [])
    found = next((uri for each in (*containers, *algorithms) if (uri := _archive(each))), None)  # type: ignore[arg-type]
    if found is None:
        raise Refused(
            f"Model package {answer['ModelPackageArn']} has no model.tar.gz: make one that has, or register its"
            " training job."
        )
    return found


def _archive(container: ModelPackageContainerDefinitionOutputTypeDef) -> str:
    lies = container.get("ModelDataSource", {}).get("S3DataSource", {})
    packed = lies.get("CompressionType") == "Gzip" and lies.get("S3DataType") == "S3Object"
    return container.get("ModelDataUrl") or (lies.get("S3Uri", "") if packed else "")


def package_parameters(answer: DescribeModelPackageOutputTypeDef) -> Mapping[str, str]:
    """What a model package's makers said of it: their metadata, and the repository and commit of the code."""
    said = {name: str(value) for name, value in answer.get("MetadataProperties", {}).items()}
    kept = {name: said[name] for name in ("CommitId", "Repository") if said.get(name)}
    return parameters({**kept, **answer.get("CustomerMetadataProperties", {})})


def package_job(answer: DescribeModelPackageOutputTypeDef) -> str | None:
    """The name of the training job that a model package says it comes from, or None."""
    said = [answer.get("MetadataProperties", {}).get("GeneratedBy", "")]
    algorithms = answer.get("SourceAlgorithmSpecification", {}).get("SourceAlgorithms", [])
    said += [algorithm["AlgorithmName"] for algorithm in algorithms]
    return next((match[1] for text in said if (match := _JOB_ARN.fullmatch(text))), None)


def job_of_output(uri: str) -> str | None:
    """The name of the training job that may have left an archive: `s3://…/<job>/output/model.tar.gz`."""
    match = _JOB_OUTPUT.fullmatch(uri)
    return match[1] if match else None


def git_commit(training: Training | None, parameters: Mapping[str, str] = {}) -> str:
    """The commit of the training code, in lower case, where a tag, a hyperparameter or a parameter tells it, else "".

    Such as `git-commit`, `GIT_COMMIT`, `mlflow.source.git.commit` or `team:commit`, whose value is 7 to 64
    hexadecimal digits, quoted or not: the SageMaker SDK writes hyperparameters as JSON. Tags come first.
    """
    told = (training.tags, training.hyperparameters, parameters) if training else (parameters,)
    for values in told:
        found = {_plain(name): commit for name, value in values.items() if (commit := _commit(value))}
        for name in _SAYS_COMMIT:
            if name in found:
                return found[name]
    return ""


def commit_of(source: Source) -> str:
    """The commit of the training code that a source tells, else ""."""
    return git_commit(source.training, source.parameters)


def _plain(name: str) -> str:
    last = re.split(r"[:/]", name)[-1].lower().removeprefix("mlflow.")
    return re.sub(r"[^a-z0-9]", "", last)


def _commit(value: str) -> str:
    text = value.strip()
    if text.startswith('"'):
        try:
            text = json.loads(text)
        except ValueError:
            return ""
    text = text.lower()
    return text if _COMMIT.fullmatch(text) else ""


def line(value: str, most: int = limits.URI_MAX) -> str:
    """`value` as one line of at most so many characters."""
    return _cut("".join("\ufffd" if unicodedata.category(c) in _NOT_IN_A_LINE else c for c in value), most)


def parameters(values: Mapping[str, str]) -> Mapping[str, str]:
    """Parameters in order of name, as far as they fit."""
    fit = {name: _cut(_lines(values[name]), limits.PARAMETER_MAX) for name in _names(values, limits.METRIC_NAME_MAX)}
    return dict(list(fit.items())[: limits.PARAMETERS_MAX])


def _tags(values: Mapping[str, str]) -> Mapping[str, str]:
    fit = {name: line(values[name], limits.TAG_VALUE_MAX) for name in _names(values, limits.TAG_KEY_MAX)}
    return dict(list(fit.items())[: limits.TAGS_MAX])


def _metrics(values: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    found = dict(values)
    fit = [(name, value) for name, value in found.items() if _fits(name, limits.METRIC_NAME_MAX)]
    return dict(fit[: limits.METRICS_MAX])


def _names(values: Mapping[str, str], most: int) -> list[str]:
    return sorted(name for name in values if _fits(name, most))


def _fits(name: str, most: int) -> bool:
    return 0 < len(name) <= most and line(name) == name


def _lines(value: str) -> str:
    # as limits.no_controls: tabs and line feeds stay
    return "".join("\ufffd" if c not in "\t\n" and unicodedata.category(c) in _NOT_IN_A_LINE else c for c in value)


def _cut(value: str, most: int) -> str:
    return value if len(value) <= most else value[: most - 1] + _CUT
