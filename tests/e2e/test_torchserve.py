"""What Sluice packages for TorchServe, served by TorchServe."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gitops.release import Runtime
from gitops.runtimes import RUNTIMES, TORCHSERVE_MANAGEMENT_PORT, health_path
from sluice.demo.ports import free_pairs

pytestmark = pytest.mark.slow

JOB = "digits-2026-11-08"
READY_SECONDS = 40
STOP_SECONDS = 15
"""TorchServe takes two to three; a launcher that ignores SIGTERM never stops."""


@pytest.fixture
def torchserve() -> Path:
    """The folder of the torchserve to test against."""
    told = os.environ.get("SLUICE_TORCHSERVE")
    if not told:
        pytest.skip(
            "Set SLUICE_TORCHSERVE to bin/torchserve of a virtual environment with torchserve, torch and PyYAML."
        )
    if not shutil.which("java"):
        pytest.skip("Put a Java runtime (17 or later) on PATH: TorchServe's front end is written in Java.")
    if not shutil.which(told):
        pytest.fail(f"SLUICE_TORCHSERVE says {told}, which cannot be run.")
    return Path(told).absolute().parent


class Server(NamedTuple):
    """A TorchServe that runs as its image would run it."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    ports: dict[int, int]
    """The port that stands in for each one of the image's."""
    log: Path

    def probe(self, model: str) -> subprocess.CompletedProcess[str]:
        """Run the readiness probe of the Deployment, but for the port number."""
        command = RUNTIMES[Runtime.TORCHSERVE].ready(model)["exec"]["command"]
        there = self.ports[TORCHSERVE_MANAGEMENT_PORT]
        moved = [argument.replace(str(TORCHSERVE_MANAGEMENT_PORT), str(there)) for argument in command]
        return subprocess.run(moved, env=self.environment, capture_output=True, text=True, timeout=30, check=False)

    def await_(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not done():
            stopped = self.process.poll() is not None
            if stopped or time.monotonic() > deadline:
                told = [line for line in self.log.read_text().splitlines() if "ACCESS_LOG" not in line]
                state = "stopped before it was" if stopped else "is not"
                pytest.fail("\n".join([f"TorchServe {state} {what}:", *told[-60:]]))
            time.sleep(0.2)

    def await_ready(self, model: str) -> None:
        self.await_(lambda: self.probe(model).returncode == 0, "ready")

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """The status and the JSON that the inference port answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[8080], timeout=30)
        try:
            connection.request("POST" if body is not None else "GET", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.load(answer)
        finally:
            connection.close()

    def pings(self) -> bool:
        with suppress(ConnectionError):
            return self.ask(health_path(Runtime.TORCHSERVE, "digits"))[0] == 200
        return False


@contextmanager
def serving(layout: Any, root: Path, torchserve: Path) -> Iterator[Server]:
    """Start what the layout starts, with its root at `root` and free ports instead of its own."""
    ports = dict(zip((8080, TORCHSERVE_MANAGEMENT_PORT, 8082, 7070, 7071), free_pairs(5), strict=True))
    moved = f"{root}{layout.working_dir}"
    for path, data in layout.config.items():
        text = data.decode().replace(layout.working_dir, moved).replace("//0.0.0.0:", "//127.0.0.1:")
        for port in (8080, TORCHSERVE_MANAGEMENT_PORT, 8082):
            assert text.count(f"//127.0.0.1:{port}\n") == 1
            text = text.replace(f"//127.0.0.1:{port}\n", f"//127.0.0.1:{ports[port]}\n")
        text += f"grpc_inference_port={ports[7070]}\ngrpc_management_port={ports[7071]}\n"
        (root / path).write_text(text)
    # Not under `root`: the sockets to the workers lie here, and a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="ts") as temp:
        environment = {"PATH": f"{torchserve}:{os.environ['PATH']}", "TMPDIR": temp, "TEMP": temp}
        log = root / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [argument.replace(layout.working_dir, moved) for argument in layout.entrypoint],
                cwd=moved,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield Server(process, environment, ports, log)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the server and its workers, which are of its process group, and wait until they are gone."""
    deadline = time.monotonic() + STOP_SECONDS
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            time.sleep(0.02)
    process.wait(STOP_SECONDS)


def test_an_image_serves_its_model_and_outlives_bad_requests(packaged: Any, torchserve: Path, tmp_path: Path) -> None:
    digits = packaged("digits", JOB)
    digits.unpack(tmp_path)

    with serving(digits.layout, tmp_path, torchserve) as server:
        server.await_ready("digits")
        assert server.pings()
        assert _class_of(server, digits.sample) == digits.expected

        workers = _workers(server)
        for body in (b"{nope", b"{}", b'{"instances": [[1, 2], [3]]}', b'{"instances": [[NaN]]}', b"[" * 100_000, b""):
            status, answer = server.ask("/predictions/digits", body)
            assert (status, list(answer)) == (400, ["error"]), body
        status, _ = server.ask("/predictions/digits", b'{"instances": [[1, 2, 3]]}')
        assert status == 503  # well formed, but not what this model takes

        assert _class_of(server, digits.sample) == digits.expected
        assert _workers(server) == workers
        assert server.probe("digits").returncode == 0
        assert server.probe("letters").returncode != 0


def test_a_pod_stops_when_it_is_told_to(packaged: Any, torchserve: Path, tmp_path: Path) -> None:
    digits = packaged("digits", JOB)
    digits.unpack(tmp_path)

    with serving(digits.layout, tmp_path, torchserve) as server:
        server.await_ready("digits")
        os.kill(server.process.pid, signal.SIGTERM)
        server.process.wait(STOP_SECONDS)
        assert not server.pings()


def test_a_model_that_cannot_be_loaded_is_never_ready(packaged: Any, torchserve: Path, tmp_path: Path) -> None:
    digits = packaged("digits", JOB)
    digits.unpack(tmp_path)
    (tmp_path / digits.layout.folder / "model.pt").write_bytes(b"no model")

    with serving(digits.layout, tmp_path, torchserve) as server:
        server.await_(lambda: "Auto recovery failed again" in server.log.read_text(), "trying to load again")
        assert server.pings()
        probe = server.probe("digits")
        assert probe.returncode != 0
        assert "none is READY" in probe.stderr


def test_torchserve_takes_the_archive_itself(packaged: Any, torchserve: Path, tmp_path: Path) -> None:
    digits = packaged("digits", JOB)
    store = (tmp_path / digits.layout.folder).parent
    store.mkdir(parents=True)
    (store / "digits.mar").write_bytes(b"".join(digits.blobs.chunks(digits.artifact.blob)))
    config = {
        path: data.replace(b"load_models=digits\n", b"load_models=digits.mar\n")
        for path, data in digits.layout.config.items()
    }

    with serving(digits.layout.model_copy(update={"config": config}), tmp_path, torchserve) as server:
        server.await_ready("digits")
        assert _class_of(server, digits.sample) == digits.expected


def _class_of(server: Server, sample: bytes) -> int:
    status, answer = server.ask("/predictions/digits", sample)
    assert status == 200, answer
    (scores,) = answer["predictions"]
    assert sum(scores) == pytest.approx(1)
    return int(scores.index(max(scores)))


def _workers(server: Server) -> list[int]:
    """The process ids of the model's workers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports[TORCHSERVE_MANAGEMENT_PORT], timeout=30)
    try:
        connection.request("GET", "/models/digits")
        return [worker["pid"] for worker in json.load(connection.getresponse())[0]["workers"]]
    finally:
        connection.close()
