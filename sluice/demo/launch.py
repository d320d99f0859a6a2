"""One start of the two servers: spawn both, then wait until both answer."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

import sluice
from registry.errors import InvalidInput, Unavailable
from registry.progress import Progress
from sluice.demo import process
from sluice.demo.endpoints import Endpoints, without_aws
from sluice.demo.process import Process
from sluice.demo.store import INSTALL, Store, plan

STORE, AWS = "seaweedfs", "moto"

_ATTEMPTS = 3
_PATIENCE = 60.0  # seconds until a server must answer; both take about one
_POLL = 0.05


class Launch:
    """What one start has running by now, for the caller to end where the start fails.

    `spawned` is called with it after each change; `lock` is a descriptor that the servers hold while they live.
    """

    def __init__(self, folder: Path, lock: int, detached: bool, spawned: Callable[[Sequence[Process]], None]):
        self.processes: list[Process] = []
        self._folder = folder
        self._lock = lock
        self._detached = detached
        self._spawned = spawned

    def run(self, weed: Path, jobs: Sequence[Mapping[str, Any]], progress: Progress) -> Endpoints:
        """Start both servers and return once both answer. Raises Unavailable, and leaves ending them to the caller."""
        access_key, secret_key = "SLUICE" + secrets.token_hex(7).upper(), secrets.token_urlsafe(30)
        ready = self._start_aws(jobs, access_key)
        s3_url = self._start_store(weed, access_key, secret_key)
        progress.fact(f"SeaweedFS plays S3 at {s3_url}")
        aws_url = self._await_aws(ready)
        endpoints = Endpoints(s3_url=s3_url, aws_url=aws_url, access_key=access_key, secret_key=secret_key)
        _identify(endpoints)
        progress.fact(f"moto plays SageMaker, ECR and STS at {aws_url}")
        return endpoints

    def _start_store(self, weed: Path, access_key: str, secret_key: str) -> str:
        """Start SeaweedFS, again with other ports where it ends at once: another process took one of them first."""
        for _ in range(_ATTEMPTS):
            store = plan(weed, self._folder / "store")
            environment = store.environment(access_key, secret_key)
            server = self._spawn(STORE, store.command(), environment, store.litter())
            if self._store_answers(server, store, access_key, secret_key):
                return store.url
            process.end([server])
            self._forget(server)
        raise self._failed(STORE)

    def _store_answers(self, server: Process, store: Store, access_key: str, secret_key: str) -> bool:
        """Wait for an answer to a signed request: a stranger on that port does not know our key."""
        endpoints = Endpoints(s3_url=store.url, aws_url="", access_key=access_key, secret_key=secret_key)
        client = endpoints.client("s3", timeout=2)

        def asked() -> bool:
            try:
                client.list_buckets()
            except (BotoCoreError, ClientError):
                return False
            return True

        try:
            return self._until(server, asked)
        finally:
            client.close()

    def _start_aws(self, jobs: Sequence[Mapping[str, Any]], access_key: str) -> Path:
        """Start moto in a child of its own; it picks its port and writes it to the file that is returned."""
        ready, wanted = self._folder / "moto.json", self._folder / "jobs.json"
        ready.unlink(missing_ok=True)
        wanted.write_text(json.dumps(list(jobs)))
        root = str(Path(sluice.__file__).resolve().parent.parent)
        environment = without_aws(os.environ) | {
            "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": "not-checked",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        # -P: nothing in the current directory may pose as one of the modules.
        command = [sys.executable, "-P", "-m", "sluice.demo.aws", "--jobs", str(wanted), "--ready", str(ready)]
        self._spawn(AWS, command, environment)
        return ready

    def _await_aws(self, ready: Path) -> str:
        server = next(each for each in self.processes if each.name == AWS)
        if not self._until(server, ready.exists):
            raise self._failed(AWS)
        return f"http://127.0.0.1:{int(json.loads(ready.read_text())['port'])}"

    def _spawn(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], litter: Collection[Path] = ()
    ) -> Process:
        argv = list(command) if self._detached else process.kept(command, litter)
        with process.undisturbed():  # a Ctrl-C must not come between a process and the note that it is ours
            try:
                server = process.spawn(name, argv, environment, self._log(name), inherit=[self._lock], litter=litter)
            except OSError as error:
                raise Unavailable(f"{argv[0]} cannot be run ({error.strerror}): run {INSTALL} again.") from error
            self.processes.append(server)
            self._spawned(self.processes)
        return server

    def _forget(self, server: Process) -> None:
        self.processes.remove(server)
        self._spawned(self.processes)

    def _until(self, server: Process, done: Callable[[], bool]) -> bool:
        """Poll; False when the server is gone first. Raises Unavailable when it takes too long."""
        deadline = time.monotonic() + _PATIENCE
        while not done():
            if not process.alive(server):
                return False
            if time.monotonic() > deadline:
                raise self._failed(server.name)
            time.sleep(_POLL)
        return process.alive(server)

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    def _failed(self, name: str) -> Unavailable:
        return Unavailable(f"{name} did not start: read {self._log(name)}, then run the demo again.")


def require_moto() -> None:
    """Raise InvalidInput when the packages of the AWS stand-in are not installed."""
    missing = [name for name in ("moto", "flask", "flask_cors") if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidInput(f"The demo needs {' and '.join(missing)}, which is not installed: run {INSTALL}.")


def _identify(endpoints: Endpoints) -> None:
    """Ask STS who we are. Raises Unavailable when it does not say."""
    client = endpoints.client("sts")
    try:
        client.get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(f"{AWS} started but does not answer at {endpoints.aws_url}: run the demo again.") from error
    finally:
        client.close()
