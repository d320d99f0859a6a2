"""What Sluice knows of each model server: its ports, and how to ask it whether this model is ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from gitops.release import Runtime

TORCHSERVE_MANAGEMENT_PORT = 8081
MODEL_ROOT = "/srv/sluice"
"""Where a model lies in its server's container, whether it came in the image or as a volume of its own."""
DEREGISTRATION_SECONDS = 30
"""How long a load balancer lets requests finish on a pod that is going away."""
Probe = Mapping[str, Any]


class RuntimeSpec(BaseModel):
    """One model server, as its image is laid out by the image builder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ports: Mapping[str, int]
    """Container ports that others may reach, by name; `http` is where inference is asked for."""
    health_path: str
    """What the load balancer and the liveness probe ask on `http`; `{model}` stands for the model's name."""
    ready: Callable[[str], Probe]
    """From the model's name, the probe that succeeds once this model answers (not just its server)."""
    pod_annotations: Mapping[str, str] = {}
    command: Callable[[str], Sequence[str]]
    """From the model's name, the arguments that start the server with the model under MODEL_ROOT."""
    working_dir: str
    user: int = 1000
    """Numeric, because the kubelet cannot tell that a user given by name is not root."""
    writes_to_image: bool
    """Whether the server writes beside its files; where not, the root file system is read-only and /tmp is given."""
    shared_memory: str = ""
    """What /dev/shm holds at most, as Kubernetes writes it; "" where the server needs none."""


def health_path(runtime: Runtime, model: str) -> str:
    """The path on the inference port that answers 200 while the server lives."""
    return RUNTIMES[runtime].health_path.format(model=model)


def worker_ready_script(model: str, port: int = TORCHSERVE_MANAGEMENT_PORT) -> str:
    """Python that exits with 0 where TorchServe on this host has a READY worker for `model`.

    Reads the description of TorchServe's management API (docs/management_api.md, "Describe model"): a list of
    versions, each with its workers and their status.
    """
    return f"""\
import http.client, json, sys
server = http.client.HTTPConnection("127.0.0.1", {port}, timeout=4)
server.request("GET", "/models/{model}")
answer = server.getresponse()
if answer.status != 200:
    sys.exit(f"TorchServe does not know {model}: status {{answer.status}}")
workers = [worker for version in json.load(answer) for worker in version["workers"]]
if not any(worker["status"] == "READY" for worker in workers):
    sys.exit(f"{model} has {{len(workers)}} workers, none is READY")
"""


def _torchserve_ready(model: str) -> Probe:
    # /ping says Healthy while a model failed to load, and /models/<model> answers 200 as soon as it is registered.
    # Only the status of its workers says that it answers. The management API listens on loopback alone, out of
    # the kubelet's reach, so the question is asked from inside, with the Python that TorchServe itself needs.
    return {"exec": {"command": ["python3", "-c", worker_ready_script(model)]}}


def _tensorflow_ready(model: str) -> Probe:
    # The server opens its ports only after every model in its configuration is AVAILABLE, and exits where one
    # fails to load (ServerCore::Create in model_servers/server_core.cc waits for that). With the one version that
    # an image holds, nothing unloads it later, so an answer of 200 here does mean that the model is ready.
    return {"httpGet": {"path": f"/v1/models/{model}", "port": "http"}}


def _torchserve_command(model: str) -> Sequence[str]:  # noqa: ARG001  # its configuration names the model
    # TorchServe's launcher does not handle SIGTERM, so as process 1 it would ignore it and be killed at the end of
    # the grace period; a shell takes the signal and stops the server in order
    start = f"torchserve --start --foreground --ncs --ts-config {MODEL_ROOT}/config.properties"
    return ("sh", "-c", f"trap 'torchserve --stop --foreground' TERM; {start} & wait $!")


def _tensorflow_command(model: str) -> Sequence[str]:
    return (
        "tensorflow_model_server",
        "--port=8500",
        "--rest_api_port=8501",
        f"--model_name={model}",
        f"--model_base_path={MODEL_ROOT}/models/{model}",
    )


def _triton_command(model: str) -> Sequence[str]:  # noqa: ARG001  # the repository holds this model and its steps
    # Mode "none" loads all of the repository, so an ensemble with its steps, and then takes no more orders. In mode
    # "explicit" whoever reaches the port may load a model with files of their own, and so run code ("Model Repository
    # Extension", "Load"). Triton completes configs, as it does by default: people's own may rely on that.
    return (
        "tritonserver",
        f"--model-repository={MODEL_ROOT}/models",
        "--model-control-mode=none",
        "--strict-readiness=true",
        "--exit-timeout-secs=30",
    )


def _triton_ready(model: str) -> Probe:
    # /v2/health/ready is about the server; this one is about the model (KServe's open inference protocol, version 2)
    return {"httpGet": {"path": f"/v2/models/{model}/ready", "port": "http"}}


RUNTIMES: Mapping[Runtime, RuntimeSpec] = {
    Runtime.TORCHSERVE: RuntimeSpec(
        # 8081, the management API, is left out on purpose: who reaches it can load code
        ports={"http": 8080, "metrics": 8082},
        health_path="/ping",
        ready=_torchserve_ready,
        pod_annotations={
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "8082",
            "prometheus.io/path": "/metrics",
        },
        command=_torchserve_command,
        working_dir="/home/model-server",
        writes_to_image=True,  # its logs and the models' temporary folders
    ),
    Runtime.TENSORFLOW_SERVING: RuntimeSpec(
        ports={"http": 8501, "grpc": 8500},
        health_path="/v1/models/{model}",
        ready=_tensorflow_ready,
        command=_tensorflow_command,
        working_dir="/",
        writes_to_image=False,
    ),
    Runtime.TRITON: RuntimeSpec(
        ports={"http": 8000, "grpc": 8001, "metrics": 8002},
        health_path="/v2/health/live",
        ready=_triton_ready,
        command=_triton_command,
        working_dir="/",
        pod_annotations={
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "8002",
            "prometheus.io/path": "/metrics",
        },
        writes_to_image=False,
        # Triton and its Python models hand each other tensors through it. A container gets 64 MiB, which a few models
        # or one large batch use up; python_backend's README, "Quick Start", starts one with 1 GiB.
        shared_memory="1Gi",
    ),
}
