"""`python -m bench.gitops [--write] [--models 10000] [--only PART,…]`: measure, print a table, and with --write keep it
in docs/benchmarks.md. Parts: sizes, writers, machines, status."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from bench.gitops.report import keep, table
from bench.gitops.runs import SMALL, measured


def main() -> None:
    """Measure everything in one run."""
    parser = argparse.ArgumentParser(prog="python -m bench.gitops", description="Measure promotions and status.")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    parser.add_argument("--json", action="store_true", help="print all that was measured, too")
    parser.add_argument("--models", type=int, default=10_000, help=f"models of the large repository, more than {SMALL}")
    parser.add_argument("--only", default="sizes,writers,machines,status", help="parts to measure")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", ignore_cleanup_errors=True) as name:
        results = measured(told.models, Path(name), told.only.split(","))
    print(table(results))
    if told.json:
        print(json.dumps(results))
    if told.write:
        keep(results)


if __name__ == "__main__":
    main()
