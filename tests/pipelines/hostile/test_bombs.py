"""Bombs through a scan in a process of its own: none takes much memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipelines.scanning.findings import STEPS_MAX
from tests.pipelines.archives import bomb
from tests.pipelines.hostile.outputs import (
    MIB,
    SCRIPT,
    deflated_zeros,
    tarred,
    zipped,
)

PEAK = """
import sys
sys.path[:0] = [sys.argv[1]]
from pipelines.scanning.findings import INFLATED_MAX, Budget
from tests.pipelines.hostile.outputs import Step
from tests.pipelines.memory import high_water
from registry.errors import SluiceError
Budget.__init__.__defaults__ = (INFLATED_MAX, int(sys.argv[3]))
step = Step.of(open(sys.argv[2], "rb").read())
before = high_water()
try:
    print(step.scan().worst.value, end=" ")
except SluiceError as error:
    print(type(error).__name__, end=" ")
print(high_water() - before)
"""

FIFTH = STEPS_MAX // 5
BOMBS: dict[str, tuple[str, int, int, Callable[[], bytes]]] = {
    # what a scan says, how many steps it may make, and how many MiB it may take
    "gzip": ("Refused", STEPS_MAX, 100, lambda: b"".join(bomb(500 * MIB))),
    "deflate in a checkpoint": ("danger", STEPS_MAX, 100, lambda: beside({"b.pt": deflated_zeros()})),
    "a pickle of one string": ("danger", STEPS_MAX, 100, lambda: beside({"a.pkl": long_string(200 * MIB)})),
    # some bytes for each step: five times as many steps, on 32 MiB that are kept of a file, take no more than 200 MiB
    "a pickle of marks": ("danger", FIFTH, 50, lambda: beside({"a.pkl": b"(" * (8 * MIB)})),
    "a pickle of strings": ("danger", FIFTH, 85, lambda: beside({"a.pkl": b"\x80\x04" + b"\x8c\x01a\x94" * (4 * MIB)})),
}


def beside(files: Mapping[str, bytes]) -> bytes:
    """A training output of a sound model and these files."""
    return tarred({"model.pt": zipped(SCRIPT), **files})


def long_string(size: int) -> bytes:
    return b"\x80\x02X" + struct.pack("<I", size) + bytes(range(256)) * (size // 256) + b"."


@pytest.mark.slow
@pytest.mark.parametrize(("outcome", "steps", "most", "make"), BOMBS.values(), ids=BOMBS.keys())
def test_no_bomb_takes_much_memory(
    outcome: str, steps: int, most: int, make: Callable[[], bytes], tmp_path: Path
) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("Run this on Linux, which tells how much memory a process has had.")
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(make())
    command = [sys.executable, "-c", PEAK, str(Path(__file__).parents[3]), str(path), str(steps)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "0"}
    )
    told, kilobytes = done.stdout.split()
    assert told == outcome
    assert int(kilobytes) < most << 10
