"""The control plane of the demo: moto playing SageMaker, ECR and STS on loopback, in a process of its own.

    python -m sluice.demo.aws --jobs JOBS.json --ready READY.json

JOBS.json is a list of CreateTrainingJob requests, each with the outcome that the job shall have had: its
`FinalMetricDataList` and `BillableTimeInSeconds` and, if not Completed, `TrainingJobStatus` and `FailureReason`.
READY.json is written once the jobs are there, as {"port": n}. The access key that requests must carry comes from the
environment.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.sagemaker.models import sagemaker_backends
from werkzeug.serving import make_server

from registry.aws import explicit_client

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

ACCOUNT = "123456789012"
REGION = "us-east-1"
SERVICES = frozenset({"ecr", "sagemaker", "sts"})

_OUTCOME = frozenset({"BillableTimeInSeconds", "FinalMetricDataList", "TrainingJobStatus", "FailureReason"})
_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/\d{8}/[^/,]+/(?P<service>[^/,]+)/aws4_request,")
# STS's protocol wants XML; those of SageMaker and ECR read the header and take any text for the message.
_REFUSAL = (
    b"<ErrorResponse><Error><Code>AccessDeniedException</Code>"
    b"<Message>The request is not signed with the key of this stack.</Message></Error></ErrorResponse>"
)


class Guard:
    """Lets in what carries the stack's own key id, for a service that the demo needs.

    moto checks no signature, plays services that start containers, and answers any origin: without this, a web page
    in the user's browser could talk to it.
    """

    def __init__(self, app: Application, access_key: str):
        self._app = app
        self._access_key = access_key

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request (PEP 3333), or refuse it with 403."""
        signed = _CREDENTIAL.match(environ.get("HTTP_AUTHORIZATION", ""))
        if signed and signed["key"] == self._access_key and signed["service"] in SERVICES:
            return self._app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/xml"), ("x-amzn-ErrorType", "AccessDeniedException")])
        return [_REFUSAL]


def create_jobs(client: SageMakerClient, jobs: Iterable[Mapping[str, Any]]) -> None:
    """Create training jobs through the API, then give each the outcome that the API has no request for."""
    for job in jobs:
        client.create_training_job(**{key: value for key, value in job.items() if key not in _OUTCOME})
        _settle(sagemaker_backends[ACCOUNT][REGION].training_jobs[job["TrainingJobName"]], job)


def _settle(record: Any, job: Mapping[str, Any]) -> None:
    """Replace what moto invented: metrics, metric definitions and the status."""
    now = datetime.now(UTC)
    record.final_metric_data_list = [
        {"MetricName": metric["MetricName"], "Value": float(metric["Value"]), "Timestamp": now}
        for metric in job.get("FinalMetricDataList", [])
    ]
    record.algorithm_specification = dict(job["AlgorithmSpecification"])
    record.training_job_status = job.get("TrainingJobStatus", "Completed")
    record.secondary_status = record.training_job_status
    record.failure_reason = job.get("FailureReason")
    record.billable_time_in_seconds = job.get("BillableTimeInSeconds")
    if record.training_job_status == "InProgress":
        record.secondary_status = "Training"
        record.training_end_time = None


def main(arguments: Sequence[str]) -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m sluice.demo.aws", description=__doc__)
    parser.add_argument("--jobs", type=Path, required=True)
    parser.add_argument("--ready", type=Path, required=True)
    options = parser.parse_args(arguments)

    app = Guard(DomainDispatcherApplication(create_backend_app), os.environ["AWS_ACCESS_KEY_ID"])
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    serving = Thread(target=server.serve_forever, daemon=True)
    serving.start()

    url = f"http://127.0.0.1:{server.server_port}"
    client: SageMakerClient = explicit_client(
        "sagemaker",
        endpoint_url=url,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region=REGION,
        timeout=20,
    )
    create_jobs(client, json.loads(options.jobs.read_text()))
    client.close()

    part = options.ready.with_suffix(".part")
    part.write_text(json.dumps({"port": server.server_port}))
    part.replace(options.ready)
    serving.join()


if __name__ == "__main__":
    main(sys.argv[1:])
