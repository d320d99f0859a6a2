"""Work that is killed wherever it happens to be: at a line of the pipelines' own code, whichever is the n-th to be run.

For the script of a child process, which is one that may fork.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import pipelines

_OURS = str(Path(pipelines.__path__[0]).resolve()) + os.sep


def kill(work: Callable[[str], None], fractions: Iterable[float]) -> int:
    """Have the work done as "whole", and then as "killed-0" and so on, each killed after that fraction of the lines.

    Gives how many were killed: who is near the end may get there first, since not every run has as many lines.
    """
    status, total = _child(work, "whole", -1)
    assert status == 0
    assert total > 1_000
    killed = 0
    for number, fraction in enumerate(fractions):
        status, _ = _child(work, f"killed-{number}", 1 + int(fraction * total))
        assert status in (0, -signal.SIGKILL), (fraction, total, status)
        killed += status != 0
    return killed


def _child(work: Callable[[str], None], name: str, last: int) -> tuple[int, int]:
    """How a process of its own ended that did the work up to line `last`, and how many lines it ran, if to the end."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, str(_lines(work, name, last)).encode())
        os._exit(0)
    os.close(writer)
    told = os.read(reader, 100)
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(told or 0)


def _lines(work: Callable[[str], None], name: str, last: int) -> int:
    lines = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        lines += event == "line"
        if lines == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    work(name)
    sys.settrace(None)
    return lines
