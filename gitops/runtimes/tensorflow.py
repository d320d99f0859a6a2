"""TensorFlow Serving, for SavedModels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gitops.config.running import Settings
from gitops.config.servers import Batching
from gitops.runtimes.spec import MODEL_ROOT, SETTINGS_ROOT, Configured, Metrics, Probe, RuntimeSpec

_METRICS = Metrics("http", "/monitoring/prometheus/metrics")
_MONITORING_FILE = "monitoring.txt"
_BATCHING_FILE = "batching.txt"


def _ready(model: str) -> Probe:
    # The server opens its ports only after every model in its configuration is AVAILABLE, and exits where one
    # fails to load (ServerCore::Create in model_servers/server_core.cc waits for that). With the one version that
    # an image holds, nothing unloads it later, so an answer of 200 here does mean that the model is ready. By then,
    # the requests for warm-up that came with the model have been through (saved_model_warmup.md).
    return {"httpGet": {"path": f"/v1/models/{model}", "port": "http"}}


def _command(model: str) -> Sequence[str]:
    return (
        "tensorflow_model_server",
        "--port=8500",
        "--rest_api_port=8501",
        f"--model_name={model}",
        f"--model_base_path={MODEL_ROOT}/models/{model}",
    )


def _configured(settings: Settings) -> Configured:
    """Protocol buffers as text (g3doc/serving_config.md, "Monitoring Configuration" and "Batching Configuration")."""
    arguments, files = [], {}
    if settings.monitoring.kind != "none":
        files[_MONITORING_FILE] = f'prometheus_config {{\n  enable: true\n  path: "{_METRICS.path}"\n}}\n'
        arguments.append(f"--monitoring_config_file={SETTINGS_ROOT}/{_MONITORING_FILE}")
    if settings.tensorflow_serving.batching is not None:
        files[_BATCHING_FILE] = "".join(_parameters(settings.tensorflow_serving.batching))
        arguments += ["--enable_batching", f"--batching_parameters_file={SETTINGS_ROOT}/{_BATCHING_FILE}"]
    return Configured(arguments, files)


def _parameters(batching: Batching) -> Iterator[str]:
    """BatchingParameters of servables/tensorflow/session_bundle_config.proto."""
    for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"):
        yield f"{name} {{ value: {getattr(batching, name)} }}\n"
    for size in batching.allowed_batch_sizes:
        yield f"allowed_batch_sizes: {size}\n"


TENSORFLOW_SERVING = RuntimeSpec(
    title="TensorFlow Serving",
    ports={"http": 8501, "grpc": 8500},
    health_path="/v1/models/{model}",
    ready=_ready,
    # It has no port of their own for metrics: who may ask the model may read them too. It has none of its queue.
    metrics=_METRICS,
    command=_command,
    configured=_configured,
    working_dir="/",
    writes_to_image=False,
)
