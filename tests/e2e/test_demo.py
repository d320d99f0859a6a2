"""The demo, as a person runs it: it ends by itself, twice, and leaves nothing running, however it ends."""

from __future__ import annotations

import os
import re
import shlex
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


def test_env_sh_leaves_nothing_else_to_talk_to(tmp_path):
    """Whatever the shell said of AWS or Sluice before, the demo's commands reach the demo alone."""
    odd = tmp_path / 'a "b" $HOME ä'
    odd.mkdir()
    folder = odd / "demo"
    try:
        kept = _run("demo", "--keep", "--folder", folder, cwd=tmp_path)
        assert kept.returncode == 0, kept.stderr
        real = {
            "SLUICE_GITOPS": "/real/models.git",
            "SLUICE_BUCKET": "real",
            "AWS_PROFILE": "real",
            "AWS_ENDPOINT_URL_SAGEMAKER": "http://127.0.0.1:9",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        }
        sluice = " ".join(shlex.quote(part) for part in _SLUICE)
        script = (
            f". {shlex.quote(str(folder / 'env.sh'))}; {sluice} status; {sluice} register digits-2026-11-01 --model x"
        )
        environment = {**_environment(), **real}
        done = subprocess.run(["sh", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "digits" in done.stdout
        assert done.stdout.endswith("x@1\n")
        printed = next(line for line in kept.stdout.splitlines() if "demo --stop" in line).strip()
        stop = printed.replace("sluice ", f"{sluice} ", 1)
        subprocess.run(["sh", "-euc", stop], cwd=tmp_path, env=_environment(), check=True, capture_output=True)
        assert _processes(folder) == []
    finally:
        _run("demo", "--stop", "--folder", folder, cwd=tmp_path)


def test_it_goes_by_no_settings_of_the_persons_own(folder, tmp_path):
    (tmp_path / "sluice.toml").write_text('buckett = "a typo"\nbranch = "odd"\n')
    command = [*_SLUICE, "demo", "--folder", str(folder)]
    odd = {"SLUICE_BRANCH": "odd", "SLUICE_BASES": "no json", "SLUICE_CONFIG": "/nowhere.toml"}
    environment = {**_environment(), **odd}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert _git(folder, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_two_at_once_in_one_folder_are_one(folder, tmp_path):
    command = [*_SLUICE, "demo", "--folder", str(folder)]
    pair = [
        subprocess.Popen(command, cwd=tmp_path, env=_environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [each.communicate(timeout=120)[1].decode() for each in pair]
    codes = sorted(each.returncode for each in pair)
    assert codes in ([0, 5], [0, 0]), said
    assert "Traceback" not in "".join(said)


@pytest.mark.parametrize("where", ["file", "/proc/sluice"])
def test_a_folder_that_cannot_be(tmp_path, where):
    (tmp_path / "file").write_text("")
    refused = _run("demo", "--folder", where, cwd=tmp_path)
    assert refused.returncode == 2
    assert "--folder" in refused.stderr


def test_it_does_not_empty_a_folder_that_is_not_its_own(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    refused = _run("demo", "--folder", mine, cwd=tmp_path)
    assert refused.returncode == 2
    assert "not a demo's" in refused.stderr
    assert (mine / "thesis.txt").read_text() == "years of work"
