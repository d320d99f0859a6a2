"""How people adjust the model servers themselves: their environment, their metrics, and what only one of them has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from gitops.config.fields import EnvName, EnvValue, LabelKey, LabelValue, PrometheusAddress, Section


class Server(Section):
    """What every model server has."""

    startup_seconds: Annotated[int, Field(strict=True, ge=60, le=7200)] = Field(1200, alias="startupSeconds")
    """How long a model may load before its pod is taken for broken and started again."""
    env: Mapping[EnvName, EnvValue] = {}
    """Environment variables, which everybody who reads the repository sees."""


class Monitoring(Section):
    """How Prometheus learns of the servers' metrics, and where it answers."""

    kind: Literal["annotations", "podMonitor", "none"] = "annotations"
    """`prometheus.io/…` annotations on the pods, a PodMonitor of the Prometheus Operator, or nothing."""
    labels: Mapping[LabelKey, LabelValue] = {"release": "kube-prometheus-stack"}
    """What the PodMonitor is found by: kube-prometheus-stack looks for the name of its own Helm release."""
    prometheus: PrometheusAddress = "http://prometheus-operated.monitoring.svc:9090"
    """Where KEDA asks; this is the Service that the Prometheus Operator makes, in the namespace `monitoring`."""


BatchSize = Annotated[int, Field(strict=True, ge=1, le=65_536)]
BatchCount = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class Batching(Section):
    """How TensorFlow Serving joins requests to batches.

    The parameters of tensorflow_serving/batching/README.md, "Batch Scheduling Parameters and Tuning", under their own
    names in camelCase.
    """

    max_batch_size: BatchSize = Field(32, alias="maxBatchSize")
    batch_timeout_micros: Annotated[int, Field(strict=True, ge=0, le=60_000_000)] = Field(
        1000, alias="batchTimeoutMicros"
    )
    """How long the first request of a batch waits for others."""
    max_enqueued_batches: BatchCount = Field(100, alias="maxEnqueuedBatches")
    """How many batches may wait; what comes then is turned away at once, which a client sees as an error."""
    num_batch_threads: Annotated[int, Field(strict=True, ge=1, le=1024)] = Field(4, alias="numBatchThreads")
    """How many batches are worked on at once."""
    allowed_batch_sizes: tuple[BatchSize, ...] = Field((), alias="allowedBatchSizes", max_length=50)
    """Where there are any, a batch is filled up to the next of them, so that few shapes have to be compiled."""


class TensorflowServing(Section):
    """What only TensorFlow Serving has; a model that another server runs goes without it."""

    batching: Batching | None = None
    """None where each request is worked on alone."""

    @property
    def contradiction(self) -> str:
        """What does not go together here, "" where all does."""
        sizes = list(self.batching.allowed_batch_sizes) if self.batching else []
        if self.batching and sizes and (sizes != sorted(set(sizes)) or sizes[-1] != self.batching.max_batch_size):
            return (
                "tensorflowServing.batching.allowedBatchSizes must rise, and end with the maxBatchSize"
                f" {self.batching.max_batch_size}"
            )
        return ""
