"""How a model runs: what a replica gets, how many there are, and on which nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gitops.config.fields import Count, Cpu, LabelKey, LabelValue, Memory, Section


class Resources(Section):
    """What one replica gets. GPUs are whole devices (`nvidia.com/gpu`)."""

    gpu: Annotated[int, Field(strict=True, ge=0, le=64)] = 1
    cpu: Cpu = "2"
    memory: Memory = "8Gi"


class Scaling(Section):
    """Replicas, and the percentage of requested CPU at which there is one more."""

    min: Count = 1
    max: Count = 4
    cpu_utilization: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(70, alias="cpuUtilization")


class Toleration(Section):
    """A taint that the pods put up with (Kubernetes API, core/v1 Toleration)."""

    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _value_where_it_means_something(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("a toleration with operator Exists takes no value")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration needs a key, unless its operator is Exists")
        return self


class Node(Section):
    """Which nodes the pods run on; what is left out follows from whether they need a GPU."""

    selector: Mapping[LabelKey, LabelValue] | None = None
    tolerations: Sequence[Toleration] | None = None


class Settings(Section):
    """How a model runs in one environment."""

    resources: Resources = Resources()
    scaling: Scaling = Scaling()
    node: Node = Node()

    @property
    def node_selector(self) -> Mapping[str, str]:
        """The nodes' labels: the GPU pool, unless people chose others or no GPU is needed."""
        if self.node.selector is not None:
            return self.node.selector
        return {"sluicegate.dev/pool": "gpu"} if self.resources.gpu else {}

    @property
    def tolerations(self) -> Sequence[Toleration]:
        """The taints put up with: that of GPU nodes, unless people chose others or no GPU is needed."""
        if self.node.tolerations is not None:
            return self.node.tolerations
        gpu_only = Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
        return (gpu_only,) if self.resources.gpu else ()
