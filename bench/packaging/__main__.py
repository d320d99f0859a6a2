"""`python -m bench.packaging [--write] [--size 1GiB] [--only PART,…]`: measure, print a table, and with --write keep it
in docs/benchmarks.md. Parts: packaging, memory, s3, images, copy."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.packaging import runs
from bench.packaging.model import BLOCK, Kind
from bench.packaging.report import keep, table

_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}


def size_of(text: str) -> int:
    """Read `512MiB` or `1GiB`: a multiple of 8 MiB.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    match = re.fullmatch(r"(\d+)(MiB|GiB)", text)
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if not size or size % BLOCK:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 512MiB or 1GiB, a multiple of 8 MiB")
    return size


def main() -> None:
    """Measure everything in one run."""
    parser = argparse.ArgumentParser(prog="python -m bench.packaging", description="Measure packaging and images.")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    parser.add_argument("--json", action="store_true", help="print all that was measured, too")
    parser.add_argument("--size", type=size_of, default=1 << 30, help="bytes of weights, as in 1GiB")
    parser.add_argument("--only", default="packaging,memory,s3,images,copy", help="parts to measure")
    told = parser.parse_args()
    results = measured(told.size, told.only.split(","))
    print(table(results))
    if told.json:
        print(json.dumps(results))
    if told.write:
        keep(results)


def measured(size: int, parts: list[str]) -> dict[str, Any]:
    """All results of the parts."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
        folder = Path(name)
        every: dict[str, Callable[[], Any]] = {
            "packaging": lambda: {kind.value: runs.packaging(kind, size, folder) for kind in Kind},
            "memory": lambda: runs.memory((size, 4 * size, 16 * size)),
            "s3": lambda: runs.over_s3((size, 4 * size), folder),
            "images": lambda: runs.images(size, folder),
            "copy": lambda: runs.base_copy(folder),
        }
        results = {}
        for part in parts:
            results[part] = every[part]()
            print(f"{part} is measured", file=sys.stderr)
        return results


if __name__ == "__main__":
    main()
