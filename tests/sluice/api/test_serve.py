"""`sluice serve` as a process of its own, on a real bucket."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

MAIN = """
import sys
import typer
from registry.errors import SluiceError
from sluice.cli.serve_command import add_to

app = typer.Typer()
add_to(app)
if __name__ == "__main__":
    try:
        app(standalone_mode=False)
    except SluiceError as error:
        sys.stderr.write(f"sluice: {error}\\n")
        sys.exit(error.exit_code)
"""


class Served:
    """A server's process."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url

    def stop(self) -> tuple[int, float, str]:
        """End it as Kubernetes does: its exit code, how long it took, and what it logged."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, logged = self.process.communicate(timeout=30)
        return self.process.returncode, time.monotonic() - began, logged


@pytest.fixture
def serve(aws, new_bucket, tmp_path, monkeypatch) -> Iterator[Callable[..., Served]]:
    """Starts `sluice serve`."""
    script = tmp_path / "main.py"
    script.write_text(MAIN)
    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLUICE_ACTOR", "Test <test@example.com>")
    started: list[subprocess.Popen[str]] = []
    bucket = new_bucket()

    def start(*arguments: object, wait: bool = True) -> Served:
        command = [sys.executable, str(script), "serve", "--port", "0", "--bucket", bucket, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        started.append(process)
        if not wait:
            return Served(process, "")
        line = process.stdout.readline()
        match = re.fullmatch(r"Sluice listens on (http://\S+)\n", line)
        assert match, line + process.stderr.read()
        return Served(process, match[1])

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=30)
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_from_start_to_end(serve, workers):
    served = serve("--workers", workers)
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        answer = client.get("/v1/models", headers={"X-Request-Id": "r1"})
        assert answer.json() == {"items": [], "next": None}
        assert "server" not in answer.headers
        digest = client.put("/v1/uploads", content=b"model").json()["digest"]
        assert client.post("/v1/models/fraud/versions", json={"source": digest}).status_code == 201
        for _ in range(30):
            with httpx.Client(trust_env=False, timeout=30) as other:  # a connection each, so that all workers get some
                other.get(f"{served.url}/v1/nothing")
        text = client.get("/metrics").text
        assert 'sluice_http_requests_total{method="GET",route="-",status="404"} 30.0' in text
        assert "sluice_http_requests_in_flight 1.0" in text
        headers = {"Accept": "text/event-stream"}
        with (
            client.stream("GET", "/v1/events", headers=headers) as one,
            client.stream("GET", "/v1/events", headers=headers) as two,
        ):
            lines = one.iter_lines()
            assert next(lines).startswith("retry")
            code, seconds, logged = served.stop()
            assert code == 0
            assert seconds < 8
            list(lines)  # the streams ended, and were not cut off
            list(two.iter_lines())
    lines = [json.loads(line) for line in logged.splitlines()]
    assert [line["status"] for line in lines if line.get("request_id") == "r1"] == [200]
    assert not [line for line in lines if line["level"] == "error"]


def test_no_worker_outlives_its_server(serve):
    served = serve("--workers", 2)
    assert httpx.get(served.url + "/healthz", trust_env=False).status_code == 200
    served.process.kill()
    served.process.communicate(timeout=30)  # waits for all who hold its standard error
    with pytest.raises(httpx.ConnectError):
        httpx.get(served.url + "/healthz", trust_env=False)


def test_interrupted_by_hand(serve):
    served = serve()
    served.process.send_signal(signal.SIGINT)
    served.process.communicate(timeout=30)
    assert served.process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--host", "0.0.0.0"), 2, "Nothing tells who asks"),
        (("--host", "::"), 2, "Nothing tells who asks"),
        (("--host", "no.such.host.invalid"), 2, "no address"),
        (("--bucket", ""), 2, "bucket"),
        (("--workers", "0"), 2, "workers"),
    ],
)
def test_what_cannot_be_served(serve, arguments, code, said):
    process = serve(*arguments, wait=False).process
    out, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert said in error
    assert out == ""
    assert "Traceback" not in error


def test_a_port_that_is_taken(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = serve("--port", taken.getsockname()[1], wait=False).process
        _, error = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "cannot be listened on" in error


def test_a_bucket_that_is_gone_is_not_ready(serve, problem):
    served = serve("--bucket", "no-such-bucket-at-all")
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        assert client.get("/healthz").status_code == 200
        problem(client.get("/readyz"), 503, "unavailable")


def _p50(url: str) -> float:
    """Half of the requests on one kept connection are faster."""
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        took = []
        for number in range(220):
            began = time.perf_counter()
            assert client.get("/v1/openapi-is-not-here").status_code == 404
            if number >= 20:
                took.append(time.perf_counter() - began)
    return statistics.median(took)


def test_several_workers_answer_as_fast_as_one(serve):
    """That Nagle's algorithm is off, which made answers wait for 40 ms, is proved in test_foundation.py."""
    one, two = _p50(serve("--workers", 1).url), _p50(serve("--workers", 2).url)
    assert two < 10 * one


def test_a_token(aws, tmp_path):
    script = tmp_path / "main.py"
    script.write_text(MAIN)

    def run(name):
        command = [sys.executable, str(script), "token", name]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    import tomllib

    from sluice.api.config import Serve
    from sluice.api.tokens import find

    ran = run("ci")
    token, _, rest = ran.stdout.partition("\n")
    table = tomllib.loads(rest.partition("sluice.toml:")[2])
    serve = Serve(**table["serve"])
    assert find(token, serve.tokens).name == "ci"
    assert token not in rest
    assert run("C I").returncode == 2
