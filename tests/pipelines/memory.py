"""How much memory is taken meanwhile."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Peak:
    """The most bytes that were taken at one time, known when the block has ended."""

    size: int = 0


@contextmanager
def traced() -> Iterator[Peak]:
    """Traces what the block allocates, as far as Python knows of it."""
    peak = Peak()
    tracemalloc.start(1)
    try:
        yield peak
        _, peak.size = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


def high_water() -> int:
    """The most KiB that this process has had in memory since its program began (proc(5), `VmHWM`).

    `getrusage` would not do: what it tells of a child begins with what its parent had.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
