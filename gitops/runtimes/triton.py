"""NVIDIA's Triton Inference Server, for what its backends run."""

from __future__ import annotations

from collections.abc import Sequence

from gitops.runtimes.spec import MODEL_ROOT, Metrics, Probe, RuntimeSpec


def _command(model: str) -> Sequence[str]:  # noqa: ARG001  # the repository holds this model and its steps
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


def _ready(model: str) -> Probe:
    # /v2/health/ready is about the server; this one is about the model (KServe's open inference protocol, version 2)
    return {"httpGet": {"path": f"/v2/models/{model}/ready", "port": "http"}}


TRITON = RuntimeSpec(
    title="Triton",
    ports={"http": 8000, "grpc": 8001, "metrics": 8002},
    health_path="/v2/health/live",
    ready=_ready,
    # docs/user_guide/metrics.md, "Latencies": the counters of the queue are on by default
    metrics=Metrics("metrics", "/metrics"),
    queue_counter="nv_inference_queue_duration_us",
    command=_command,
    working_dir="/",
    writes_to_image=False,
    # Triton and its Python models hand each other tensors through it. A container gets 64 MiB, which a few models
    # or one large batch use up; python_backend's README, "Quick Start", starts one with 1 GiB.
    shared_memory="1Gi",
)
