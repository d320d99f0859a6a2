"""The embedded stack: SeaweedFS for S3, moto for SageMaker, ECR and STS, on loopback, ended on every exit.

In its folder: `store/` (objects), `logs/`, `stack.lock` (locked by the servers for as long as they live) and
`stack.json` (mode 0600, only for a detached stack: what to end later).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from registry.errors import Conflict, InvalidInput, NotFound
from registry.progress import Progress
from sluice.demo import process
from sluice.demo.endpoints import Endpoints, create_bucket
from sluice.demo.launch import Launch, require_moto
from sluice.demo.process import Process
from sluice.demo.store import find_binary

__all__ = ["Endpoints", "Stack", "create_bucket", "load", "stop_detached"]


class _Record(BaseModel):
    """What stack.json holds. The endpoints come last: without them the start was cut short."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: tuple[Process, ...]
    endpoints: Endpoints | None = None


class Stack:
    """Running servers. As a context manager it stops them at the end of the block.

    A detached stack stays up after a block that ended well, and is stopped by one that did not.
    """

    def __init__(self, folder: Path, endpoints: Endpoints, processes: Sequence[Process], *, detached: bool):
        self.endpoints = endpoints
        self._folder = folder
        self._processes = tuple(processes)
        self._detached = detached

    @classmethod
    def start(
        cls,
        folder: Path,
        jobs: Sequence[Mapping[str, Any]],
        *,
        detached: bool = False,
        progress: Progress,
        weed: Path | None = None,
        first: Callable[[], None] = lambda: None,
    ) -> Stack:
        """Start both servers, with `jobs` done, and return when both answer.

        `first` is called once no other stack can run in the folder, and before this one does.

        `jobs` are CreateTrainingJob requests with their outcome, see `sluice.demo.aws`. `weed` is SeaweedFS's
        program, by default the one that was installed with Sluice. Attached servers end with this process, however
        it dies; detached ones live until `stop_detached`. Raises InvalidInput when a package is missing, Conflict
        when the folder is in use, Unavailable when a server does not start: then the other one is ended, too.
        """
        weed = weed or find_binary()
        require_moto()
        folder = folder.resolve()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder) as lock:
            first()
            for part in (folder / "logs", folder / "store"):
                part.mkdir(mode=0o700, exist_ok=True)
            _record_path(folder).unlink(missing_ok=True)

            def note(processes: Sequence[Process]) -> None:
                if detached:
                    _write(folder, _Record(processes=tuple(processes)))

            launch = Launch(folder, lock, detached, note)
            try:
                endpoints = launch.run(weed, jobs, progress)
                if detached:
                    _write(folder, _Record(processes=tuple(launch.processes), endpoints=endpoints))
            except BaseException:
                _end(folder, launch.processes)
                raise
        return cls(folder, endpoints, launch.processes, detached=detached)

    @property
    def pids(self) -> Mapping[str, int]:
        """Process ids by server; each leads a process group that holds all of that server."""
        return MappingProxyType({each.name: each.pid for each in self._processes})

    def alive(self) -> bool:
        """Tell whether all servers still run."""
        return bool(self._processes) and all(map(process.alive, self._processes))

    def stop(self) -> None:
        """End the servers and wait until they are gone. May be called again."""
        try:
            if self._processes:
                _end(self._folder, self._processes)
        finally:
            self._processes = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if not self._detached or kind is not None:
            self.stop()


def load(folder: Path) -> Stack:
    """Read the detached stack of a folder, be it up or not. Raises NotFound where there is none."""
    folder = folder.resolve()
    record = _read(folder)
    if record.endpoints is None:
        raise NotFound(f"The demo in {folder} was cut short while it started: end it with `sluice demo --stop`.")
    return Stack(folder, record.endpoints, record.processes, detached=True)


def stop_detached(folder: Path) -> None:
    """End the detached stack of a folder. What died by itself is no error. Raises NotFound where there is none."""
    folder = folder.resolve()
    _end(folder, _read(folder).processes)


def _end(folder: Path, processes: Sequence[Process]) -> None:
    process.end(processes)
    _record_path(folder).unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Lock the folder for a start. The servers inherit the descriptor, so that it stays locked while one lives."""
    lock = os.open(folder / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"A demo already runs in {folder}: end it with `sluice demo --stop` or Ctrl-C, or use another folder."
            ) from error
        os.set_inheritable(lock, True)
        yield lock
    finally:
        os.close(lock)


def _record_path(folder: Path) -> Path:
    return folder / "stack.json"


def _read(folder: Path) -> _Record:
    path = _record_path(folder)
    try:
        return _Record.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(f"No demo was left running in {folder}: start one with `sluice demo --keep`.") from error
    except ValidationError as error:
        raise InvalidInput(
            f"{path} is not what Sluice wrote: end the demo's processes by hand and remove it."
        ) from error


def _write(folder: Path, record: _Record) -> None:
    """Replace stack.json as a whole; it holds the secret key, so nobody else may read it at any time."""
    part = folder / "stack.json.part"
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(record.model_dump_json(indent=1))
    part.replace(_record_path(folder))
