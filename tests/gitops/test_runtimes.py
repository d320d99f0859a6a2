"""The script in TorchServe's probes, run as the kubelet runs it, against answers as its documentation shows them."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gitops.runtimes import worker_ready_script


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
