"""How a model runs: what a replica gets, on which nodes, and with it how many there are and how they are adjusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from gitops.config.fields import Cpu, GpuResource, LabelKey, LabelValue, Memory, Section
from gitops.config.scaling import Scaling
from gitops.config.servers import Monitoring, Server, TensorflowServing

POOL_LABEL = "sluicegate.dev/pool"
"""Says of a node which pool it is in."""
GPU_POOL = "gpu"
SPOT_POOL = "gpu-spot"
SPOT_TAINT = "sluicegate.dev/spot"
"""The taint of the nodes of the spot pool beside that of GPUs, with the effect NoSchedule."""


class Resources(Section):
    """What one replica gets."""

    gpu: Annotated[int, Field(strict=True, ge=0, le=64)] = 1
    gpu_resource: GpuResource = Field("nvidia.com/gpu", alias="gpuResource")
    """What `gpu` counts: whole GPUs, MIG slices, or shares of GPUs that replicas take turns on (time-slicing)."""
    cpu: Cpu = "2"
    memory: Memory = "8Gi"

    @property
    def shares_gpu(self) -> bool:
        """Whether others use the same GPU at the same time, by time-slicing."""
        return self.gpu_resource.endswith(".shared")

    @property
    def has_mig_slices(self) -> bool:
        """Whether `gpu` counts slices of GPUs (Multi-Instance GPU)."""
        return self.gpu_resource.startswith("nvidia.com/mig-")


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
    spot: Literal["never", "canary", "always"] = "never"
    """Which GPU pods run on spot instances, which cost less and are taken back within two minutes."""
    spread: tuple[Literal["zone", "host"], ...] = Field(("zone",), max_length=2)
    """Over what replicas are spread, as far as there is room: it is a wish, and never keeps a pod from starting."""

    @field_validator("spread")
    @classmethod
    def _each_once(cls, spread: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(spread)) != len(spread):
            raise ValueError(f"{spread[0]} is there twice")
        return spread


class Settings(Section):
    """How a model runs in one environment."""

    resources: Resources = Resources()
    scaling: Scaling = Scaling()
    node: Node = Node()
    server: Server = Server()
    monitoring: Monitoring = Monitoring()
    tensorflow_serving: TensorflowServing = Field(TensorflowServing(), alias="tensorflowServing")

    @property
    def node_selector(self) -> Mapping[str, str]:
        """The nodes' labels: the GPU pool, unless people chose others or no GPU is needed."""
        if self.node.selector is not None:
            return self.node.selector
        return {POOL_LABEL: GPU_POOL} if self.resources.gpu else {}

    @property
    def tolerations(self) -> Sequence[Toleration]:
        """The taints put up with: that of GPU nodes, unless people chose others or no GPU is needed."""
        if self.node.tolerations is not None:
            return self.node.tolerations
        gpu_only = Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
        return (gpu_only,) if self.resources.gpu else ()

    def on_spot(self) -> Settings:
        """The same on nodes of the spot pool; without a GPU, there is no pool, and all stays as it is."""
        if not self.resources.gpu:
            return self
        spot = Toleration(key=SPOT_TAINT, operator="Exists", effect="NoSchedule")
        pool = {"selector": {POOL_LABEL: SPOT_POOL}, "tolerations": (*self.tolerations, spot)}
        return self.model_copy(update={"node": self.node.model_copy(update=pool)})

    @property
    def contradiction(self) -> str:
        """What does not go together in these settings, "" where all does.

        It is asked of what comes out of a merge: either half alone may well look wrong.
        """
        found = (*self._about_scaling(), *self._about_nodes(), self.tensorflow_serving.contradiction)
        return next((sentence for sentence in found if sentence), "")

    def _about_scaling(self) -> Sequence[str]:
        scaling = self.scaling
        found = []
        if scaling.min > scaling.max:
            found.append(f"scaling.min {scaling.min} is above scaling.max {scaling.max}")
        if scaling.metric == "gpu" and not self.resources.gpu:
            found.append("scaling.metric is gpu, but resources.gpu is 0")
        if scaling.metric == "gpu" and self.resources.shares_gpu:
            found.append("scaling.metric is gpu, but how busy a shared GPU is says nothing of who shares it")
        if scaling.metric == "queue" and self.monitoring.kind == "none":
            found.append("scaling.metric is queue, but monitoring.kind none keeps it from Prometheus")
        return found

    def _about_nodes(self) -> Sequence[str]:
        found = []
        if self.resources.shares_gpu and self.resources.gpu > 1:
            found.append(f"resources.gpu is {self.resources.gpu}, but two shares are no more of a shared GPU than one")
        if self.node.selector is not None and self.node.spot != "never":
            found.append(f"node.spot {self.node.spot} chooses the nodes, and so does node.selector")
        return found
