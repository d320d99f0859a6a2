"""The servers that are measured, each as its users start it: one worker, on loopback, with a store on this disk."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.registry.load import Client


class Server(NamedTuple):
    """A server that answers, and its process."""

    port: int
    pid: int

    def rss(self) -> int:
        """Resident bytes of the process and of all that it started."""
        return sum(_rss(pid) for pid in _family(self.pid))


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def sluice(bucket: str, folder: Path, workers: int = 1) -> Iterator[Server]:
    """`sluice serve` on the bucket that the AWS environment leads to."""
    command = [str(Path(sys.executable).parent / "sluice"), "serve", "--workers", str(workers), "--bucket", bucket]
    with _running(command, folder, "sluice", "/healthz") as server:
        yield server


@contextmanager
def mlflow(executable: str, folder: Path) -> Iterator[Server]:
    """An MLflow tracking server with sqlite and local artifacts."""
    store = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "a")]
    with _running([executable, "server", "--workers", "1", *store], folder, "mlflow", "/health") as server:
        yield server


def fill_mlflow(database: Path, name: str, count: int) -> None:
    """Put versions into MLflow's database the fast way; they are just those that its API makes."""
    now = int(time.time() * 1000)
    with sqlite3.connect(database, timeout=30) as base:
        base.execute(
            "insert into registered_models (name, creation_time, last_updated_time, description, workspace)"
            " values (?, ?, ?, '', 'default')"
            if _has_workspace(base)
            else "insert into registered_models (name, creation_time, last_updated_time, description)"
            " values (?, ?, ?, '')",
            (name, now, now),
        )
        columns = "name, version, creation_time, last_updated_time, current_stage, source, status"
        base.executemany(
            f"insert into model_versions ({columns}) values (?, ?, ?, ?, 'None', ?, 'READY')",
            [(name, n, now, now, f"s3://training/{name}/{n}/model.tar.gz") for n in range(1, count + 1)],
        )
        base.executemany(
            "insert into model_version_tags (name, version, key, value) values (?, ?, 'team', 'risk')",
            [(name, n) for n in range(1, count + 1)],
        )


def _has_workspace(base: sqlite3.Connection) -> bool:
    return any(row[1] == "workspace" for row in base.execute("pragma table_info(registered_models)"))


def find_mlflow() -> str:
    """The `mlflow` to measure: SLUICE_MLFLOW, or the first on the PATH."""
    found = shutil.which(os.environ.get("SLUICE_MLFLOW") or "mlflow")
    if found is None:
        sys.exit("There is no mlflow to measure against: run .ci/mlflow, or set SLUICE_MLFLOW to one.")
    return found


@contextmanager
def _running(command: list[str], folder: Path, name: str, health: str) -> Iterator[Server]:
    port = free_port()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )
    try:
        client = Client(port)
        for _ in range(1_200):
            if client.healthy(health):
                break
            if process.poll() is not None:
                sys.exit((folder / f"{name}.log").read_text()[-4_000:])
            time.sleep(0.1)
        yield Server(port, process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(grandchild for child in children for grandchild in _family(int(child)))]


def _rss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
