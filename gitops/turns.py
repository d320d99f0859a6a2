"""Taking turns: writers who share a cache commit one after another, and so do not lose races to each other.

Nothing depends on it but speed: whoever has waited long enough goes ahead without, as writers on other machines do. The
turn is a lock of the kernel's on a file (flock(2)), which is gone with the process that had it, however it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LONGEST = 60.0
"""Seconds after which a writer goes ahead without its turn: one push may stall, and should not hold up all others."""
_LOOK = 0.02  # seconds between two looks, at random around it so that nobody is always the first


@contextlib.contextmanager
def turn(file: Path, sleep: Callable[[float], None], longest: float = LONGEST) -> Iterator[None]:
    """Wait for a turn, and have it until the block ends; where the files cannot be made, go ahead at once.

    Who waits first becomes the next one, and then has the turn. So whoever just had it stands behind one who waits,
    and nobody has it time after time.
    """
    until = time.monotonic() + longest
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            following = _opened(stack, file.with_suffix(".next"))
            mine = _opened(stack, file)
            _wait(following, sleep, until)
            _wait(mine, sleep, until)
            fcntl.flock(following, fcntl.LOCK_UN)
        yield


def _opened(stack: contextlib.ExitStack, file: Path) -> int:
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, handle)
    return handle


def _wait(handle: int, sleep: Callable[[float], None], until: float) -> None:
    while time.monotonic() < until:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        sleep(random.uniform(0, 2 * _LOOK))  # noqa: S311  # no secret
