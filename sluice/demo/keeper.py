"""Runs one command for as long as the process that asked for it lives.

It is the parent of each server of a stack that must not outlive its command, and does by polling what Linux has
`PR_SET_PDEATHSIG` for: that one is not on macOS, and fires when a mere thread ends. It is run as a file with
`python -I -S`, so it may import nothing but the standard library.

    keeper.py PARENT GRACE [LITTER ...] -- COMMAND ...

PARENT is the process id to watch, GRACE the seconds between SIGTERM and SIGKILL, LITTER the files to remove after.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_POLL = 0.2  # seconds


def main(arguments: list[str]) -> int:
    """Run the command, end it on SIGTERM or when the parent is gone, and answer with its exit code."""
    split = arguments.index("--")
    parent, grace, *litter = arguments[:split]
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, ask)
    child = subprocess.Popen(arguments[split + 1 :])
    try:
        while child.poll() is None and not asked and os.getppid() == int(parent):
            time.sleep(_POLL)
        return _end(child, float(grace))
    finally:
        for path in litter:
            Path(path).unlink(missing_ok=True)


def _end(child: subprocess.Popen[bytes], grace: float) -> int:
    child.terminate()  # does nothing to a child that ended by itself
    try:
        return child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
