"""The demo, as a person runs it: it ends by itself, twice, and leaves nothing running, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
_SLUICE = (sys.executable, "-c", "from sluice.cli.app import main; main()")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SLUICE_"))}


def _run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [*_SLUICE, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=_environment(), capture_output=True, text=True, timeout=120)


def _processes(folder: Path) -> list[str]:
    """The command lines of processes that work in `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder / "gitops.git"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def folder(tmp_path):
    """Where the demo runs; whatever a failing test leaves up is ended."""
    yield tmp_path / "demo"
    if (tmp_path / "demo" / "stack.json").exists():
        _run("demo", "--stop", "--folder", tmp_path / "demo", cwd=tmp_path)


def test_it_tells_the_whole_story_twice_and_leaves_nothing_running(folder, tmp_path):
    for _ in range(2):
        done = _run("demo", "--folder", folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert _processes(folder) == []
        subjects = _git(folder, "log", "--format=%s", "main").splitlines()
        assert subjects == [
            "Roll back digits@3 in prod",
            "digits: prod canary v3 at 25 %",
            "digits: staging stable v3",
            "digits: prod stable v2",
            "digits: prod canary v2 at 50 %",
            "digits: prod canary v2 at 10 %",
            "digits: staging stable v2",
            "wine: prod stable v1",
            "wine: staging stable v1",
            "digits: prod stable v1",
            "digits: staging stable v1",
            "Begin with staging, prod",
        ]
        assert _git(folder, "rev-parse", "main^{tree}") == _git(folder, "rev-parse", "main~2^{tree}")
        for row in (r"digits +prod +v2 +- +torchserve", r"wine +prod +v1 +- +tensorflow-serving"):
            assert re.search(row, done.stdout)
        for subject in subjects:
            assert subject in done.stdout
        assert "Where to look next" in done.stdout


def _started(folder: Path, cwd: Path, until: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*_SLUICE, "demo", "--folder", str(folder)],
        cwd=cwd,
        env=_environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stderr
    for line in process.stderr:
        if until in line:
            return process
    raise AssertionError(f"the demo ended with {process.wait()} before it said {until!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("until", ["moto plays", "digits@2 packaged"])
def test_it_leaves_nothing_running_when_it_is_broken_off(folder, tmp_path, number, until):
    process = _started(folder, tmp_path, until)
    process.send_signal(number)
    assert process.stderr
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) != 0
    assert "Traceback" not in said
    deadline = time.monotonic() + 20
    while _processes(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _processes(folder) == []


def test_keep_leaves_a_stack_that_commands_work_on(folder, tmp_path):
    kept = _run("demo", "--keep", "--folder", folder, cwd=tmp_path)
    assert kept.returncode == 0, kept.stderr
    assert (folder / "env.sh").stat().st_mode & 0o077 == 0
    assert _processes(folder)

    busy = _run("demo", "--folder", folder, cwd=tmp_path)
    assert busy.returncode == 5
    assert "--stop" in busy.stderr
    assert _processes(folder), "the running demo was left alone"

    command = " ".join(f"'{part}'" for part in _SLUICE)
    script = f". {folder}/env.sh && {command} show digits@2 && {command} status"
    shown = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=_environment(), capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "state            built" in shown.stdout

    assert _run("demo", "--stop", "--folder", folder, cwd=tmp_path).returncode == 0
    assert _processes(folder) == []
    again = _run("demo", "--stop", "--folder", folder, cwd=tmp_path)
    assert (again.returncode, "--keep" in again.stderr) == (3, True)


def test_it_does_not_empty_a_folder_that_is_not_its_own(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    refused = _run("demo", "--folder", mine, cwd=tmp_path)
    assert refused.returncode == 2
    assert "not a demo's" in refused.stderr
    assert (mine / "thesis.txt").read_text() == "years of work"
