"""A registry on loopback whose requests can be counted, and a proxy before it that counts bytes."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bench.registry.servers import free_port


class DockerRegistry(NamedTuple):
    """Debian's docker-registry, with its storage and its log in a folder."""

    host: str
    log: Path
    pid: int


def requests_in(log: Path) -> list[tuple[str, str, int]]:
    """The requests that a registry's log tells of: method, path and status."""
    found = re.findall(r'"([A-Z]+) (/v2/[^ "]*) HTTP/1.1" (\d+)', log.read_text())
    return [(method, path, int(status)) for method, path, status in found]


def has_docker_registry() -> bool:
    """Whether it is installed."""
    return shutil.which("docker-registry") is not None


@contextmanager
def docker_registry(folder: Path) -> Iterator[DockerRegistry]:
    """Start it, and remove what it stored."""
    folder.mkdir()
    host, log = f"127.0.0.1:{free_port()}", folder / "log"
    config = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": False}, "level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": host, "secret": "of this run"},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    with log.open("wb") as out:
        command = ["docker-registry", "serve", str(folder / "config.yml")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _await(host, process, log)
        yield DockerRegistry(host, log, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _await(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    name, port = host.split(":")
    for _ in range(600):
        with suppress(OSError), socket.create_connection((name, int(port)), timeout=5):
            return
        if process.poll() is not None:
            raise SystemExit(log.read_text()[-2000:])
        time.sleep(0.1)
    raise SystemExit("docker-registry does not listen")


class Counting:
    """A proxy that hands bytes to and fro, and counts those that go `up`. It is slow: do not time what goes through."""

    def __init__(self, target: str) -> None:
        self.up = 0
        self._target = target.split(":")
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                other = socket.create_connection((self._target[0], int(self._target[1])))
                threading.Thread(target=self._hand, args=(client, other, True), daemon=True).start()
                threading.Thread(target=self._hand, args=(other, client, False), daemon=True).start()

    def _hand(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 18):
                if up:
                    self.up += len(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
