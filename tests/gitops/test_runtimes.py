"""The script in TorchServe's probes, run as the kubelet runs it, against answers as its documentation shows them."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gitops.config import Batching, Settings, TensorflowServing, default_model_file
from gitops.release import Runtime
from gitops.runtimes import (
    MODEL_ROOT,
    RUNTIMES,
    TORCHSERVE_MANAGEMENT_PORT,
    RuntimeSpec,
    health_path,
    worker_ready_script,
)


@contextmanager
def management_api(status: int, body: object) -> Iterator[int]:
    """The port of a server on loopback that answers for the model `fraud` alone."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/models/fraud" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the base class
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def probe(model: str, port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", worker_ready_script(model, port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def description(*status: str) -> list[dict[str, object]]:
    workers = [{"id": str(9000 + i), "status": one, "gpu": True} for i, one in enumerate(status)]
    return [{"modelName": "fraud", "modelVersion": "1.0", "minWorkers": 1, "workers": workers}]


@pytest.mark.parametrize(
    ("status", "body", "ready"),
    [
        (200, description("READY"), True),
        (200, description("UNLOADING", "READY"), True),
        (200, description("UNLOADING"), False),
        (200, description(), False),
        (404, {"code": 404, "type": "ModelNotFoundException"}, False),
        (200, "not a description", False),
    ],
)
def test_ready_is_a_worker_that_is(status: int, body: object, ready: bool) -> None:
    with management_api(status, body) as port:
        assert (probe("fraud", port).returncode == 0) == ready


def test_another_model_is_not_this_one() -> None:
    with management_api(200, description("READY")) as port:
        found = probe("spam", port)
    assert found.returncode == 1
    assert "does not know spam: status 404" in found.stderr


def test_no_server_is_not_ready() -> None:
    with management_api(200, description("READY")) as port:
        pass
    assert probe("fraud", port).returncode == 1


def test_triton_loads_what_is_in_the_image_and_then_takes_no_orders() -> None:
    spec = RUNTIMES[Runtime.TRITON]
    command = spec.command("fraud")
    assert command[0] == "tritonserver"
    assert f"--model-repository={MODEL_ROOT}/models" in command
    # mode "explicit" lets whoever reaches the port load a model with code of their own
    assert "--model-control-mode=none" in command
    assert not [argument for argument in command if argument.startswith("--load-model")]
    # people's configs may leave to the model what it knows best
    assert "--disable-auto-complete-config" not in command


def test_triton_is_asked_for_the_model_not_just_the_server() -> None:
    assert RUNTIMES[Runtime.TRITON].ready("fraud") == {"httpGet": {"path": "/v2/models/fraud/ready", "port": "http"}}
    assert health_path(Runtime.TRITON, "fraud") == "/v2/health/live"


@pytest.mark.parametrize("runtime", Runtime)
def test_what_is_open_to_the_network(runtime: Runtime) -> None:
    spec = RUNTIMES[runtime]
    assert TORCHSERVE_MANAGEMENT_PORT not in spec.ports.values()
    assert spec.metrics.port in spec.ports
    assert set(spec.ports) <= {"http", "grpc", "metrics"}


def test_people_are_told_that_torchserve_is_no_longer_maintained() -> None:
    assert "no longer maintained" in (RuntimeSpec.__doc__ or "")
    assert "no longer maintained" in default_model_file("fraud").decode()


@pytest.mark.parametrize("runtime", Runtime)
def test_settings_of_another_server_change_nothing(runtime: Runtime) -> None:
    found = RUNTIMES[runtime].configured(Settings(tensorflowServing=TensorflowServing(batching=Batching())))
    assert bool(found.arguments) == (runtime is Runtime.TENSORFLOW_SERVING)
    assert bool(found.files) == bool(found.arguments)
