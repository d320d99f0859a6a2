"""A client that costs as little as a Python one can, the same for every server: http.client on a connection kept."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Client:
    """Connections to one server, one a thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
        """Ask, and give the answer's body; anything but success ends the bench."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        try:
            self._connection().request(method, path, body=data, headers=sent)
            answer = self._connection().getresponse()
        except (BrokenPipeError, http.client.RemoteDisconnected, ConnectionResetError):
            # the server has closed what was idle
            self._local.connection = None
            self._connection().request(method, path, body=data, headers=sent)
            answer = self._connection().getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {said[:500]!r}")
        return said

    def healthy(self, path: str) -> bool:
        """Whether the server answers."""
        try:
            self.send("GET", path)
        except (OSError, SystemExit, http.client.HTTPException):
            self._local = threading.local()
            return False
        return True

    def _connection(self) -> http.client.HTTPConnection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._local.connection = connection
        return connection


class Rate(NamedTuple):
    """What a run gave: operations a second of all threads together, and milliseconds of one at the median and p99."""

    per_second: float
    p50: float
    p99: float


def run(threads: int, each: int, act: Callable[[int], Any]) -> Rate:
    """Let threads act, each so many times; `act` is told a number of its own each time."""
    times: list[float] = []

    def work(first: int) -> None:
        mine = []
        for number in range(first, first + each):
            begun = time.perf_counter()
            act(number)
            mine.append(time.perf_counter() - begun)
        times.extend(mine)

    workers = [threading.Thread(target=work, args=(number * each,)) for number in range(threads)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    passed = time.perf_counter() - begun
    return Rate(threads * each / passed, statistics.median(times) * 1000, sorted(times)[int(len(times) * 0.99)] * 1000)


def timed(act: Callable[[], Any], times: int) -> float:
    """Median seconds."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        act()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)
