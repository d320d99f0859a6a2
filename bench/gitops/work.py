"""What is timed in a process of its own: `python -m bench.gitops.work JOB name=value …`; it prints JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.gitops.fill import AUTHOR, ENVIRONMENTS, name, promotion
from gitops.operations import promote_in
from gitops.repository import Repository
from gitops.state import all_releases


class Facts:
    """Progress that counts what it is told, which is each attempt after the first."""

    def __init__(self) -> None:
        self.count = 0

    def bytes(self, what: str, done: int, total: int | None) -> None:
        """Nothing: no bytes are told of here."""

    def fact(self, text: str) -> None:
        """One more."""
        del text
        self.count += 1


def promotions(told: dict[str, str]) -> dict[str, object]:
    """Promote some models, from number `first` on, one after the other; seconds of each, commits, and retries."""
    facts, commits, seconds = Facts(), [], []
    with Repository.open(told["url"], cache=Path(told["cache"])) as repository:
        for number in range(int(told["first"]), int(told["first"]) + int(told["count"])):
            wall = time.perf_counter()
            wanted = promotion(name(number), ENVIRONMENTS[-1], int(told["version"]))
            commits.append(promote_in(repository, wanted, AUTHOR, facts).commit)
            seconds.append(time.perf_counter() - wall)
    return {"seconds": seconds, "commits": commits, "retries": facts.count}


def status(told: dict[str, str]) -> dict[str, object]:
    """Read every release, as `sluice status` does."""
    wall = time.perf_counter()
    with Repository.open(told["url"], cache=Path(told["cache"])) as repository:
        found = len(all_releases(repository.head()))
    return {"releases": found, "seconds": [time.perf_counter() - wall]}


_JOBS: dict[str, Callable[[dict[str, str]], dict[str, object]]] = {"promotions": promotions, "status": status}

if __name__ == "__main__":
    print(json.dumps(_JOBS[sys.argv[1]](dict(pair.split("=", 1) for pair in sys.argv[2:]))))
