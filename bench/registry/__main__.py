"""`python -m bench.registry [--write]`: measure, print a table, and with --write keep it in docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.registry import inprocess, overhttp
from bench.registry.report import keep, table
from bench.registry.servers import find_mlflow
from registry.aws import Clients
from registry.progress import Silent
from registry.storage import Storage
from sluice.demo.endpoints import create_bucket
from sluice.demo.stack import Stack

BUCKETS = ("bench-inprocess", "bench-http", "bench-memory")


def main() -> None:
    """Measure everything in one run."""
    executable = find_mlflow()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
        folder = Path(name)
        with Stack.start(folder / "stack", [], progress=Silent()) as stack:
            os.environ.update(stack.endpoints.environment())
            for bucket in BUCKETS:
                create_bucket(stack.endpoints, bucket)
            results = measured(folder, executable)
    print(table(results))
    if "--json" in sys.argv:
        print(json.dumps(results, default=lambda value: value._asdict()))
    if "--write" in sys.argv:
        keep(results)


def measured(folder: Path, executable: str) -> dict[str, Any]:
    """All results."""
    clients = Clients()
    results: dict[str, Any] = {"import": inprocess.import_seconds()}
    say("import")
    results["in process"] = inprocess.measure(Storage.s3(clients, BUCKETS[0]), clients.s3(), BUCKETS[0])
    say("in process")
    sizes = (100, 1_000, 10_000, 100_000)
    results["http"] = overhttp.measure(Storage.s3(clients, BUCKETS[1]), BUCKETS[1], executable, folder, sizes)
    say("over HTTP")
    results["memory"] = overhttp.memory(Storage.s3(clients, BUCKETS[2]), BUCKETS[2], folder)
    say("memory")
    return results


def say(what: str) -> None:
    """Tell how far it is."""
    print(f"{what} is measured", file=sys.stderr)


if __name__ == "__main__":
    main()
