"""Start server processes, tell later whether they still are the same ones, and end them.

A process is known by its id and its time of birth, so that a record of it can be written down and acted on much
later, by another process, without ever hitting a stranger that was given the same id.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

GRACE = 8.0
"""Seconds that a server gets between SIGTERM and SIGKILL. SeaweedFS takes about 2.5."""

_KEEPER = Path(__file__).with_name("keeper.py")
_POLL = 0.03
_DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


class Process(BaseModel):
    """A process that leads its own session, and the files outside its folder to remove once it is gone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pid: int
    birth: str
    litter: tuple[Path, ...] = ()


class _State(NamedTuple):
    birth: str
    zombie: bool


def kept(argv: Sequence[str], litter: Collection[Path] = ()) -> list[str]:
    """Wrap a command so that it ends soon after the calling process does, however that one dies."""
    watch = [str(os.getpid()), str(GRACE), *map(str, litter)]
    return [sys.executable, "-I", "-S", str(_KEEPER), *watch, "--", *argv]


def spawn(
    name: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    *,
    inherit: Collection[int] = (),
    litter: Collection[Path] = (),
) -> Process:
    """Start a command in a session of its own, so that Ctrl-C in the terminal does not reach it.

    It reads nothing, appends both outputs to `log`, and gets no file descriptor but those in `inherit`. Raises
    OSError when the command cannot be run.
    """
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable() if fd not in inherit),
    ]
    # Not subprocess: a Popen object warns when it is dropped while its process lives on, as a detached one must.
    pid = os.posix_spawn(
        argv[0], list(argv), dict(environment), file_actions=actions, setsid=True, setsigdef=_DEFAULT_SIGNALS
    )
    state = _state(pid)
    return Process(name=name, pid=pid, birth=state.birth if state else "", litter=tuple(litter))


def alive(process: Process) -> bool:
    """Tell whether that very process still runs."""
    state = _state(process.pid)
    return state is not None and state.birth == process.birth and not state.zombie


def end(processes: Sequence[Process], grace: float = GRACE + 2) -> None:
    """End processes with SIGTERM, after `grace` seconds or when interrupted with SIGKILL, and wait until they are gone.

    A process that is gone already, or whose id belongs to another one by now, is left alone.
    """
    try:
        for process in processes:
            if _same(process):
                _signal(os.kill, process.pid, signal.SIGTERM)
        _wait(lambda: not any(map(alive, processes)), grace)
    finally:
        with undisturbed():
            _finish(processes)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the end of the block, so that none raises an exception within it.

    Masking them would not do: another thread could still take them, and Python raises in the main thread all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # exceptions out of signals are raised in the main thread only
        return
    held: list[int] = []

    def hold(number: int, _: FrameType | None) -> None:
        held.append(number)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}
    try:
        for number in ours:
            signal.signal(number, hold)
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for arrived in held:
            signal.raise_signal(arrived)


def _finish(processes: Sequence[Process]) -> None:
    # The id of a leader that was not reaped is not given away: its group cannot be a stranger's.
    for process in processes:
        if _same(process):
            _signal(os.killpg, process.pid, signal.SIGKILL)
    _wait(lambda: not any(map(alive, processes)), 5)
    for process in processes:
        _bury(process)


def _bury(process: Process) -> None:
    """Reap a dead child, wait for the rest of its group, and remove what it left."""
    if _same(process):
        with suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
        _wait(lambda: not _signal(os.killpg, process.pid, 0), 2)
    for path in process.litter:
        path.unlink(missing_ok=True)


def _same(process: Process) -> bool:
    """Tell whether the id still is that process's, be it dead and not reaped."""
    state = _state(process.pid)
    return state is not None and state.birth == process.birth


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> bool:
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return False
    return True


def _wait(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(_POLL)


def _inheritable() -> Iterator[int]:
    """Descriptors that a child would get: Python's own are not, those that a shell left open may be."""
    for entry in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the listing's own descriptor is closed by now
            if int(entry.name) > 2 and os.get_inheritable(int(entry.name)):
                yield int(entry.name)


def _state(pid: int) -> _State | None:
    return _state_proc(pid) if Path("/proc/self/stat").exists() else _state_ps(pid)


def _state_proc(pid: int) -> _State | None:
    """Read /proc/<pid>/stat (proc_pid_stat(5)): field 3 is the state, 22 the start in ticks since boot."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything, a bracket too
    return _State(f"{boot} {fields[19]}", fields[0] in "ZX")


def _state_ps(pid: int) -> _State | None:
    """Ask ps, where there is no /proc (macOS): state, then the start as a date."""
    asked = subprocess.run(
        ["/bin/ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)],
        env={"LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, birth = asked.stdout.strip().partition(" ")
    return _State(" ".join(birth.split()), state.startswith("Z")) if birth else None
