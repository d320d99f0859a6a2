"""What there is to know of a model server, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from gitops.config.running import Settings

MODEL_ROOT = "/srv/sluice"
"""Where a model lies in its server's container, whether it came in the image or as a volume of its own."""
SETTINGS_ROOT = "/etc/sluice"
"""Where the files lie that follow from people's settings, so that a setting is no reason to build an image."""
DEREGISTRATION_SECONDS = 30
"""How long a load balancer lets requests finish on a pod that is going away."""
Probe = Mapping[str, Any]


class Metrics(NamedTuple):
    """Where a server tells Prometheus how it is."""

    port: str
    """The name of one of its ports."""
    path: str


class Configured(NamedTuple):
    """What people's settings come to for a server."""

    arguments: Sequence[str] = ()
    """Behind those that every image of ours starts it with."""
    files: Mapping[str, str] = {}
    """By their names in SETTINGS_ROOT."""


def as_it_is(settings: Settings) -> Configured:  # noqa: ARG001  # what is asked of every server
    """A server without settings of its own."""
    return Configured()


class RuntimeSpec(BaseModel):
    """One model server, as its image is laid out by the image builder.

    Of the three, TorchServe is no longer maintained upstream (see `gitops.runtimes.torchserve`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    """What people call it."""
    ports: Mapping[str, int]
    """Container ports that others may reach, by name; `http` is where inference is asked for."""
    health_path: str
    """What the load balancer and the liveness probe ask on `http`; `{model}` stands for the model's name."""
    ready: Callable[[str], Probe]
    """From the model's name, the probe that succeeds once this model answers (not just its server)."""
    metrics: Metrics
    queue_counter: str = ""
    """The metric that adds up the microseconds that requests have waited; "" where the server has none."""
    command: Callable[[str], Sequence[str]]
    """From the model's name, the arguments that start the server with the model under MODEL_ROOT."""
    configured: Callable[[Settings], Configured] = as_it_is
    """What people's settings add to that."""
    working_dir: str
    user: int = 1000
    """Numeric, because the kubelet cannot tell that a user given by name is not root."""
    writes_to_image: bool
    """Whether the server writes beside its files; where not, the root file system is read-only and /tmp is given."""
    shared_memory: str = ""
    """What /dev/shm holds at most, as Kubernetes writes it; "" where the server needs none."""
