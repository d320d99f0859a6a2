"""Many writers at once: real processes on SeaweedFS, and every order of faults that hypothesis can think of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from registry.errors import Conflict, NotFound
from registry.facts import Format, Scan, Source, Version
from registry.memory import MemoryStore
from registry.names import VersionRef
from registry.registry import Registry
from registry.s3 import S3Store
from sluice.demo.endpoints import Endpoints

WRITERS = 8
OWN, SHARED = 1, 2  # jobs of each writer alone, and jobs that all of them register

WRITER = """
import json, sys
from registry.aws import Clients
from registry.facts import Source
from registry.registry import Registry
from registry.s3 import S3Store

bucket = sys.argv[1]
registry = Registry(S3Store(Clients(), bucket))
sources = [Source.model_validate(source) for source in json.loads(sys.stdin.readline())]
print("ready", flush=True)
sys.stdin.readline()
for source in sources:
    version, created = registry.register("fraud", source, actor=f"writer {sys.argv[2]}")
    print(json.dumps([version.source.training.job, version.number, created]), flush=True)
"""


def test_eight_processes_number_the_versions_of_a_model(
    aws: Endpoints, s3_store: S3Store, source: Callable[..., Source]
) -> None:
    root = str(Path(__file__).parents[2])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, s3_store.bucket, str(n)],
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
        told = [json.loads(line) for writer in writers for line in writer.communicate(timeout=60)[0].splitlines()]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    versions = list(Registry(s3_store).versions("fraud"))
    total = WRITERS * OWN + SHARED
    assert [version.number for version in versions] == list(range(total, 0, -1))
    numbers = {version.source.training.job: version.number for version in versions}
    assert len(numbers) == total
    assert len(told) == WRITERS * (OWN + SHARED)
    assert all(numbers[job] == number for job, number, _ in told)
    assert sorted(job for job, _, created in told if created) == sorted(numbers)


JOBS = st.sampled_from([f"j{n}" for n in range(5)])
MODELS = st.sampled_from(["a", "a-b"])
NTH = st.integers(0, 9)  # 0: no fault
AFTER = st.booleans()
SIZES = st.integers(1, 2)


SCAN = Scan(source="sha256:" + "0" * 64, size=1, format=Format.TORCHSCRIPT, root="m", files=())


class Machine(RuleBasedStateMachine):
    """The registry over a store that dies under it or lets another writer in, beside what must be true of it."""

    interrupted: Any
    killed: type[BaseException]
    source: Any

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.done: dict[tuple[str, str], int] = {}  # (model, job): the number that some writer was told
        self.tried: set[tuple[str, str]] = set()
        self.seen: dict[VersionRef, Version] = {}
        self.scans: dict[VersionRef, Scan] = {}

    def through(self, n: int, after: bool, act: Callable[[], None]) -> Registry:
        return Registry(self.interrupted(self.store, act, n, after=after))

    def die(self) -> None:
        raise self.killed

    def told(self, model: str, job: str, version: Version) -> None:
        assert version.source == self.source(job)
        assert version.model == model
        assert self.done.setdefault((model, job), version.number) == version.number

    @rule(model=MODELS, job=JOBS, n=NTH, after=AFTER)
    def register(self, model: str, job: str, n: int, after: bool) -> None:
        known = (model, job) in self.tried
        self.tried.add((model, job))
        with suppress(self.killed):
            found = self.through(n, after, self.die).register(model, self.source(job), actor="ann")
            assert known or found.created
            assert not ((model, job) in self.done and found.created)
            self.told(model, job, found.version)

    @rule(model=MODELS, job=JOBS, n=NTH, after=AFTER, others=st.lists(JOBS, min_size=1, max_size=3))
    def race(self, model: str, job: str, n: int, after: bool, others: list[str]) -> None:
        def intrude() -> None:
            for other in others:
                self.tried.add((model, other))
                self.told(model, other, Registry(self.store).register(model, self.source(other), actor="bob").version)

        self.tried.add((model, job))
        self.told(model, job, self.through(n, after, intrude).register(model, self.source(job), actor="ann").version)

    @precondition(lambda self: self.done)
    @rule(data=st.data(), size=SIZES, n=st.integers(0, 4), after=AFTER)
    def record(self, data: st.DataObject, size: int, n: int, after: bool) -> None:
        (model, _), number = data.draw(st.sampled_from(sorted(self.done.items())))
        ref = VersionRef(model=model, number=number)
        scan = Scan(source="sha256:" + "0" * 64, size=size, format=Format.TORCHSCRIPT, root="m", files=())
        before = self.scans.get(ref)
        with suppress(self.killed):
            try:
                self.through(n, after, self.die).record(ref, scan)
            except Conflict:
                assert before not in (None, scan)
            else:
                assert before in (None, scan)

    @rule(model=MODELS, number=st.integers(1, 12))
    def look_for(self, model: str, number: int) -> None:
        ref = VersionRef(model=model, number=number)
        if ref in self.seen:
            assert Registry(self.store).version(ref) == self.seen[ref]
        else:
            with pytest.raises(NotFound):
                Registry(self.store).version(ref)
            with pytest.raises(NotFound):
                Registry(self.store).record(ref, SCAN)

    @invariant()
    def all_is_well(self) -> None:
        registry = Registry(self.store)
        names = [model.name for model in registry.models()]
        assert names == sorted(set(names))
        for name in names:
            versions = list(registry.versions(name))
            assert [version.number for version in versions] == list(range(len(versions), 0, -1))
            jobs = [version.source.training.job for version in versions]
            assert len(set(jobs)) == len(jobs)
            assert {(name, job) for job in jobs} <= self.tried
            for version in versions:
                self.never_changes(version, registry.facts(version.ref).scan)
        for (model, job), number in self.done.items():
            assert self.seen[VersionRef(model=model, number=number)].source == self.source(job)

    def never_changes(self, version: Version, scan: Scan | None) -> None:
        assert self.seen.setdefault(version.ref, version) == version
        assert scan == self.scans.get(version.ref, scan)
        if scan:
            self.scans[version.ref] = scan


def test_whatever_happens_in_whatever_order(
    interrupted: Any, killed: type[BaseException], source: Callable[..., Source]
) -> None:
    run_state_machine_as_test(
        type("Filled", (Machine,), {"interrupted": interrupted, "killed": killed, "source": staticmethod(source)}),
        settings=settings(max_examples=60, stateful_step_count=20),
    )
