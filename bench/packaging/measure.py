"""Seconds and bytes of memory of this process."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def timed(work: Callable[[], Any]) -> dict[str, Any]:
    """Wall and CPU seconds of some work, and what came of it."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "result": result}


def peak_rss() -> int:
    """The most memory that this process ever had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def no_files() -> None:
    """From here on no byte can be written to any file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def cpu_of(pid: int) -> float:
    """CPU seconds so far of another process, and of those that it started and that still run."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(cpu_of, map(int, children)))
