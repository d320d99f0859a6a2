"""What teams use today, each as its documentation says, in processes of its own."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ARCHIVER = "torch-model-archiver"
FORMATS = ("default", "zip-store", "tgz", "no-archive")


def run(command: Sequence[str], folder: Path, **environ: str) -> dict[str, float]:
    """Wall and CPU seconds of a command and all that it starts.

    Raises:
        SystemExit: it fails.
    """
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "TMPDIR": str(folder), **environ}, capture_output=True, check=False
    )
    seconds, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command[0]} fails: {done.stderr.decode(errors='replace')[-2000:]}")
    return {"wall": seconds, "cpu": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime}


def find_archiver() -> str | None:
    """torch-model-archiver: what SLUICE_ARCHIVER names, or the first on the PATH, or the one of .venv-serving."""
    beside = Path(sys.executable).absolute().parents[2] / ".venv-serving" / "bin" / ARCHIVER
    named = os.environ.get("SLUICE_ARCHIVER") or shutil.which(ARCHIVER)
    return named or (str(beside) if beside.exists() else None)


def archiver_version(program: str) -> str:
    """Its version, as the package beside it says."""
    python = Path(program).parent / "python"
    code = f"from importlib.metadata import version; print(version('{ARCHIVER}'))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "of an unknown version"


def archive(program: str, model: Path, form: str, folder: Path) -> dict[str, float]:
    """Package an unpacked model with a handler; what is written is removed."""
    out = folder / "archived"
    out.mkdir()
    options = ["--model-name=bench", "--version=1", f"--serialized-file={model}", f"--export-path={out}"]
    try:
        return run(
            [program, *options, f"--handler={model.parent / 'handler.py'}", f"--archive-format={form}", "--force"],
            folder,
        )
    finally:
        shutil.rmtree(out)


def has_buildah() -> bool:
    """Whether buildah is there, and we are who can use it without more."""
    return shutil.which("buildah") is not None and os.geteuid() == 0


def buildah(host: str, model: Path, folder: Path) -> dict[str, Any]:
    """A Dockerfile that copies the unpacked model onto the base, built and pushed; the base was pulled before."""
    store = folder / "buildah"
    (store / "tmp").mkdir(parents=True)
    tool = ["buildah", f"--root={store / 'root'}", f"--runroot={store / 'run'}", "--storage-driver=vfs"]
    environ = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(store / "tmp")}
    names = f"{model.name} handler.py"
    (model.parent / "Dockerfile").write_text(f"FROM {host}/base/server:1\nCOPY {names} /home/model-server/model/\n")
    try:
        run([*tool, "pull", "--tls-verify=false", f"{host}/base/server:1"], folder, **environ)
        built = run(
            [*tool, "bud", "--isolation=chroot", "--tls-verify=false", "--pull=false", "-t", f"{host}/peer:1", "."],
            model.parent,
            **environ,
        )
        pushed = run([*tool, "push", "--tls-verify=false", f"{host}/peer:1"], folder, **environ)
    finally:
        shutil.rmtree(store, ignore_errors=True)
    return {name: built[name] + pushed[name] for name in built} | {"build": built, "push": pushed}
