"""How many replicas there are, and what decides that."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gitops.config.fields import Count, Section

Percent = Annotated[int, Field(strict=True, ge=1, le=100)]


class Scaling(Section):
    """Replicas, what is measured, and the value of it at which there is one more.

    Stable and canary each scale by what their own pods measure.
    """

    min: Count = 1
    max: Count = 4
    metric: Literal["cpu", "gpu", "queue"] = "cpu"
    """What is measured: of the requested CPU, how much is used; how busy the GPUs are; how many requests wait."""
    cpu_utilization: Percent = Field(70, alias="cpuUtilization")
    """A percentage of the requested CPU."""
    gpu_utilization: Percent = Field(70, alias="gpuUtilization")
    """How many percent of the time the GPUs are busy."""
    queue_depth: Count = Field(1, alias="queueDepth")
    """How many requests wait in each replica, in the mean of two minutes."""
    via: Literal["hpa", "keda"] = "hpa"
    """Kubernetes' own HorizontalPodAutoscaler, or KEDA's ScaledObject."""
    scale_down_seconds: Annotated[int, Field(strict=True, ge=0, le=3600)] | None = Field(None, alias="scaleDownSeconds")
    """How long fewer replicas must have been enough before there are fewer; Kubernetes' own 300 where left out."""
