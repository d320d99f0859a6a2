"""TorchServe, for PyTorch.

It is no longer maintained: pytorch/serve has said so of itself since 2025 ("Limited Maintenance", its issue 3396), and
what is found wrong with it stays so. It is here for the models that have it; Triton runs TorchScript too.

The management API, by which whoever reaches it can load code, listens on loopback alone, and its port is not among
those of the container. Tokens are off: each server makes its own when it starts, for an hour
(docs/token_authorization_api.md), so that behind a load balancer no client could have the right one. Who may ask is for
the router to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from gitops.runtimes.spec import MODEL_ROOT, Metrics, Probe, RuntimeSpec

TORCHSERVE_MANAGEMENT_PORT = 8081


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


def _ready(model: str) -> Probe:
    # /ping says Healthy while a model failed to load, and /models/<model> answers 200 as soon as it is registered.
    # Only the status of its workers says that it answers. The management API listens on loopback alone, out of
    # the kubelet's reach, so the question is asked from inside, with the Python that TorchServe itself needs.
    return {"exec": {"command": ["python3", "-c", worker_ready_script(model)]}}


def _command(model: str) -> Sequence[str]:  # noqa: ARG001  # its configuration names the model
    # TorchServe's launcher does not handle SIGTERM, so as process 1 it would ignore it and be killed at the end of
    # the grace period; a shell takes the signal and stops the server in order
    start = f"torchserve --start --foreground --ncs --ts-config {MODEL_ROOT}/config.properties"
    return ("sh", "-c", f"trap 'torchserve --stop --foreground' TERM; {start} & wait $!")


TORCHSERVE = RuntimeSpec(
    title="TorchServe",
    # 8081, the management API, is left out on purpose: who reaches it can load code
    ports={"http": 8080, "metrics": 8082},
    health_path="/ping",
    ready=_ready,
    # in the mode that the image's config.properties sets, in which the counter is one for Prometheus (docs/metrics.md,
    # "Getting Started" and "Default Metrics")
    metrics=Metrics("metrics", "/metrics"),
    queue_counter="ts_queue_latency_microseconds",
    command=_command,
    working_dir="/home/model-server",
    writes_to_image=True,  # its logs and the models' temporary folders
)
