"""Plagues a registry and then asks whether anything was lost: processes that work on one model and are killed.

It needs nothing but a bucket, so that people can point it at their own: it leaves one model there, named for it, and
deletes nothing of theirs.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from registry import keys
from registry.audit import audit
from registry.errors import SluiceError
from registry.eventlog import OVERLAP
from registry.facts import Scan, Tombstone
from registry.names import VersionRef
from registry.progress import Progress
from registry.registry import Registry
from registry.storage import Storage
from sluice.doctor.worker import Acknowledged

_KILL_EVERY = (0.2, 1.5)
_GRACE = 60.0


class Plan(BaseModel):
    """How long, with how many processes, and where the dice begin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    workers: int = 8
    seconds: float = 30.0
    seed: int = 0


class Outcome(BaseModel):
    """What became of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    versions: int
    acknowledged: dict[str, int]
    kills: int
    findings: tuple[str, ...]


def torture(
    storage: Storage,
    bucket: str,
    folder: Path,
    plan: Plan,
    progress: Progress,
    disturb: Callable[[float], None] = lambda _: None,
) -> Outcome:
    """Let processes loose on a bucket, kill them at random, and look at what is left; journals lie in `folder`.

    `disturb` is called again and again with the seconds since the start, for what else is to go wrong meanwhile. It
    must have put everything right when it is called for the last time, at the end.

    Raises:
        SluiceError: the workers acknowledged nothing, so that nothing was tried.
    """
    since = keys.event_time(datetime.now(UTC) - OVERLAP)
    kills = _run(bucket, folder, plan, progress, disturb)
    said = [one for journal in sorted(folder.glob("*.jsonl")) for one in read_journal(journal)]
    if not said:
        raise SluiceError(f"No worker was acknowledged anything: see the logs in {folder}.")
    result = audit(storage, model=plan.model, progress=progress)
    findings = [*result.findings, *lost(storage, said, since)]
    counts = Counter(one.what for one in said)
    return Outcome(
        model=plan.model,
        versions=result.versions,
        acknowledged=dict(sorted(counts.items())),
        kills=kills,
        findings=tuple(findings),
    )


def _run(bucket: str, folder: Path, plan: Plan, progress: Progress, disturb: Callable[[float], None]) -> int:
    dice = random.Random(plan.seed)  # noqa: S311  # for repeating a run, not for secrets
    begun, kills, next_kill = time.monotonic(), 0, dice.uniform(*_KILL_EVERY)
    workers = [_start(bucket, folder, plan, number, plan.seconds) for number in range(plan.workers)]
    try:
        while (passed := time.monotonic() - begun) < plan.seconds:
            disturb(passed)
            if passed > next_kill:
                victim = dice.randrange(plan.workers)
                workers[victim].kill()
                workers[victim].wait()
                kills += 1
                workers[victim] = _start(bucket, folder, plan, plan.workers + kills, plan.seconds - passed)
                next_kill = passed + dice.uniform(*_KILL_EVERY)
                progress.fact(f"{passed:.0f} s: {kills} workers killed")
            time.sleep(0.02)
        disturb(plan.seconds)
        for worker in workers:
            with suppress(subprocess.TimeoutExpired):  # one that hangs is killed like the others were
                worker.wait(timeout=_GRACE)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return kills


def _start(bucket: str, folder: Path, plan: Plan, number: int, seconds: float) -> subprocess.Popen[bytes]:
    journal = folder / f"{number:05d}.jsonl"
    arguments = [bucket, plan.model, str(plan.seed * 100_003 + number), f"{max(seconds, 0.1)}", str(journal)]
    with (folder / f"{number:05d}.log").open("wb") as log:
        command = [sys.executable, "-P", "-m", "sluice.doctor.worker", *arguments]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ))


def read_journal(journal: Path) -> Iterator[Acknowledged]:
    """What a worker said was acknowledged; a last line that was cut off when it was killed was not."""
    for line in journal.read_bytes().splitlines():
        try:
            yield Acknowledged.model_validate_json(line)
        except ValidationError:
            return


def lost(storage: Storage, said: Sequence[Acknowledged], since: str = "") -> Iterator[str]:
    """One sentence for each acknowledged write that is not there, or that no event after `since` tells of."""
    registry = Registry(storage)
    told = _told(registry, since)
    for one in said:
        ref = VersionRef(model=one.model, number=one.number)
        if not _is_there(registry, one, ref):
            yield f"{ref} was {one.what}, which was acknowledged and is not there."
        if (one.what, one.model, one.number) not in told:
            yield f"{ref} was {one.what}, of which no event tells."


def _told(registry: Registry, cursor: str) -> set[tuple[str, str, int]]:
    told: set[tuple[str, str, int]] = set()
    while True:
        page = registry.events(cursor)
        told |= {(one.event.kind.value, one.event.model, one.event.number or 0) for one in page.events}
        # nothing happens any more, so the last minute need not be heard twice
        after = page.events[-1].at if page.events else page.cursor
        if after <= cursor:
            return told
        cursor = after


def _is_there(registry: Registry, one: Acknowledged, ref: VersionRef) -> bool:
    if one.what == "registered":
        return registry.version(ref).source.identity == one.identity
    if one.what == "recorded":
        scan = registry.fact(ref, Scan)
        return scan is not None and scan.source == one.digest
    if one.what == "aliased":
        return any(move.token == one.token for move in registry.alias_history(one.model, one.alias))
    if one.what == "decided":
        return any(decision.token == one.token for decision in registry.decisions(ref))
    return registry.storage.store.get(keys.fact(ref, Tombstone.kind)) is not None
