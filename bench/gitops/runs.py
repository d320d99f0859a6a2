"""What is measured, in order."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.gitops.fill import fill
from bench.gitops.peer import clone_edit_push
from bench.gitops.server import Remote, serving

ROOT = Path(__file__).parents[2]
SMALL = 10
_TURNS = 5
_STATUS_MODELS = 500


def _start(job: str, **told: object) -> subprocess.Popen[str]:
    options = [f"{key}={value}" for key, value in told.items()]
    command = [sys.executable, "-m", "bench.gitops.work", job, *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _end(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"a measured process fails:\n{err[-4000:]}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def work(job: str, **told: object) -> dict[str, Any]:
    """Do a job of `bench.gitops.work` in a process of its own, and give what it says."""
    return _end(_start(job, **told))


def sizes(models: int, folder: Path, remote: Remote) -> dict[str, Any]:
    """A promotion in a repository of many models, beside one of a few, and beside a clone; the last in turns."""
    found: dict[str, Any] = {"models": models}
    counts = {SMALL: "small", models: "large"}
    for count, which in counts.items():
        found[f"{which} files"] = fill(folder / f"{which}.git", count, folder)
        cold = work("promotions", url=f"{remote.url}/{which}.git", cache=folder / which, first=0, count=1, version=2)
        found[f"{which} cold"] = cold["seconds"][0]
        _last(folder / which)
        work("promotions", url=f"{remote.url}/{which}.git", cache=folder / which, first=1, count=1, version=2)
    seconds: dict[str, list[float]] = {"small": [], "large": [], "peer": []}
    for turn in range(_TURNS):
        for which in counts.values():
            told = {"url": f"{remote.url}/{which}.git", "cache": folder / which}
            once = work("promotions", **told, first=2 + turn, count=1, version=2)
            seconds[which] += once["seconds"]
        seconds["peer"].append(clone_edit_push(f"{remote.url}/large.git", folder / "clone", 7))
    return found | {which: statistics.median(taken) for which, taken in seconds.items()}


def _last(cache: Path) -> None:
    """Make a cache one that was there ten minutes ago, which gets an index of the history (`gitops.cache`)."""
    for config in cache.glob("*/config"):
        os.utime(config, (0, 0))


def writers(count: int, each: int, machines: int, folder: Path, remote: Remote) -> dict[str, Any]:
    """Writers in processes of their own, each with models of its own, on one branch of one remote.

    Those of one machine share a cache, and these machines share the processors of this one.
    """
    total = count * each
    fill(folder / "writers.git", total, folder)
    before = _ids(folder / "writers.git")
    told = {"url": f"{remote.url}/writers.git", "version": 2, "count": each}
    caches = [folder / f"machine-{number % machines}" for number in range(count)]
    for cache in caches[:machines]:  # as on machines that were there before
        work("status", url=told["url"], cache=cache)
    wall = time.perf_counter()
    running = [_start("promotions", **told, cache=cache, first=number * each) for number, cache in enumerate(caches)]
    ended = [_end(process) for process in running]
    wall = time.perf_counter() - wall
    after = _ids(folder / "writers.git")
    made = [commit for one in ended for commit in one["commits"]]
    seconds = sorted(taken for one in ended for taken in one["seconds"])
    return {
        "writers": count,
        "machines": machines,
        "promotions": total,
        "wall": wall,
        "retries": sum(one["retries"] for one in ended),
        "median": statistics.median(seconds),
        "slowest": seconds[-1],
        "lost": len(set(made) - set(after)),
        "doubled": len(after) - len(before) - total,
        "linear": after[total:] == before and all(len(line.split()) == 2 for line in _parents(folder, total)),
    }


def _ids(repository: Path) -> list[str]:
    return _git(repository, "rev-list", "main")


def _parents(folder: Path, count: int) -> list[str]:
    return _git(folder / "writers.git", "rev-list", "--parents", f"--max-count={count}", "main")


def _git(folder: Path, *arguments: str) -> list[str]:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )[:-1]


def status(folder: Path, remote: Remote) -> dict[str, Any]:
    """Read every release of a repository of a thousand: the first time, and the best of some later ones."""
    fill(folder / "status.git", _STATUS_MODELS, folder)
    told = {"url": f"{remote.url}/status.git", "cache": folder / "status"}
    first = work("status", **told)
    asked = len(remote.asked())
    again = [work("status", **told) for _ in range(_TURNS)]
    requests = (len(remote.asked()) - asked) / _TURNS
    return {
        "releases": first["releases"],
        "first": first["seconds"][0],
        "again": min(one["seconds"][0] for one in again),
        "requests": requests,
    }


def measured(models: int, folder: Path, parts: list[str]) -> dict[str, Any]:
    """All results of the parts."""
    log = folder / "log"
    log.touch()
    root = folder / "repositories"
    root.mkdir()
    with serving(root, log) as remote:
        every = {
            "sizes": lambda: sizes(models, root, remote),
            "writers": lambda: writers(16, 20, 1, root, remote),
            "machines": lambda: writers(4, 20, 4, root, remote),
            "status": lambda: status(root, remote),
        }
        found = {}
        for part in parts:
            found[part] = every[part]()
            print(f"{part}: {found[part]}", file=sys.stderr)
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(exist_ok=True)
    return found
