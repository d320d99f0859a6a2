"""Many writers at once: real processes on SeaweedFS, each with several threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from registry import keys
from registry.changes import EventKind
from registry.facts import Source
from registry.registry import Registry
from registry.s3 import S3Store
from registry.storage import Storage
from sluice.demo.endpoints import Endpoints

WRITERS, THREADS = 5, 3
OWN, SHARED = 4, 2  # jobs of each writer alone, and jobs that all of them register

WRITER = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from registry.aws import Clients
from registry.facts import Source
from registry.registry import Registry
from registry.s3 import S3Store
from registry.storage import Storage

bucket, name, threads = sys.argv[1:]
registry = Registry(Storage.memory(S3Store(Clients(), bucket)))
sources = [Source.model_validate(source) for source in json.loads(sys.stdin.readline())]
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(int(threads)) as pool:
    for version, created in pool.map(lambda one: registry.register("fraud", one, actor=f"writer {name}"), sources):
        print(json.dumps([version.source.training.job, version.number, created]), flush=True)
"""


def test_processes_and_their_threads_number_the_versions_of_a_model(
    aws: Endpoints, s3_store: S3Store, source: Callable[..., Source]
) -> None:
    root = str(Path(__file__).parents[2])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, s3_store.bucket, str(n), str(THREADS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
            text=True,
        )
        for n in range(WRITERS)
    ]
    shared = [f"shared-{k}" for k in range(SHARED)]
    try:
        for n, writer in enumerate(writers):
            assert writer.stdin
            jobs = [*shared, *(f"own-{n}-{k}" for k in range(OWN))]
            jobs = jobs[n % len(jobs) :] + jobs[: n % len(jobs)]
            writer.stdin.write(json.dumps([source(job).model_dump(mode="json") for job in jobs]) + "\n")
            writer.stdin.flush()
        for writer in writers:
            assert writer.stdout
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin
            writer.stdin.write("go\n")
            writer.stdin.flush()
        told = [json.loads(line) for writer in writers for line in writer.communicate(timeout=120)[0].splitlines()]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    registry = Registry(Storage.memory(s3_store))
    rows = list(registry.versions("fraud"))
    total = WRITERS * OWN + SHARED
    assert [row.number for row in rows] == list(range(total, 0, -1))
    numbers = {row.name: row.number for row in rows}
    assert len(numbers) == total
    assert len(told) == WRITERS * (OWN + SHARED)
    assert all(numbers[job] == number for job, number, _ in told)
    assert sorted(job for job, _, created in told if created) == sorted(numbers)
    events = [one.event for one in registry.events().events]
    assert sorted(e.number or 0 for e in events if e.kind is EventKind.REGISTERED) == sorted(numbers.values())
    assert len(list(s3_store.list(keys.log("fraud")))) <= total
