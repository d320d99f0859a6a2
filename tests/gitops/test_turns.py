"""Writers who share a cache take turns."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gitops.message import Identity
from gitops.repository import Repository
from gitops.snapshot import Snapshot
from gitops.tree import Change
from gitops.turns import turn


class Told:
    """Progress that keeps its facts."""

    def __init__(self) -> None:
        self.facts: list[str] = []

    def bytes(self, what: str, done: int, total: int | None) -> None:
        pass

    def fact(self, text: str) -> None:
        self.facts.append(text)


def test_writers_of_one_cache_do_not_lose_races(
    remote: Path, cache: Path, author: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gitops.turns.turn.__defaults__", (600.0,))
    told = Told()

    def write(writer: int) -> None:
        with Repository.open(str(remote), cache=cache) as repository:
            for number in range(3):
                change = Change(writes={f"w{writer}": b"%d\n" % number}, subject=f"{writer}: {number}")
                repository.commit(lambda _, change=change: change, author=author, progress=told)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with Repository.open(str(remote), cache=cache) as repository:
        assert len(list(repository.head().commits([]))) == 12
    assert told.facts == []


def test_a_turn_is_had_by_one(tmp_path: Path) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most
        with turn(tmp_path / "turn", lambda _: None):
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(50)))
    assert most == 1


def test_nobody_has_it_time_after_time(tmp_path: Path) -> None:
    had: list[int] = []
    ready = threading.Barrier(3)

    def work(number: int) -> None:
        ready.wait()
        for _ in range(20):
            with turn(tmp_path / "turn", lambda _: time.sleep(0.001)):
                had.append(number)
                time.sleep(0.005)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    first = had[:20]  # until then nobody can be done
    assert min(first.count(number) for number in range(3)) >= 2


def test_who_waited_long_enough_goes_ahead(tmp_path: Path) -> None:
    waits: list[float] = []
    with turn(tmp_path / "turn", waits.append), turn(tmp_path / "turn", waits.append, 0.05):
        assert waits
    with turn(tmp_path / "no folder" / "turn", waits.append):  # a cache that cannot be written to
        pass


def test_a_killed_writer_leaves_no_turn_behind(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys, time\nfrom gitops.turns import turn\n"
        "with turn(pathlib.Path(sys.argv[1]), time.sleep):\n    print('mine', flush=True)\n    time.sleep(600)\n"
    )
    file = tmp_path / "turn"
    with subprocess.Popen([sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"mine\n"
        waits: list[float] = []
        with turn(file, waits.append, 0.05):
            assert waits
        process.kill()
    waits.clear()
    with turn(file, waits.append):
        assert waits == []


def test_an_intent_that_fails_gives_its_turn_back(repository: Repository, author: Identity) -> None:
    def wrong(_: Snapshot) -> Change:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            repository.commit(wrong, author=author)
