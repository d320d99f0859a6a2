"""What most tools do to change one file in git: clone the newest commit, edit, commit, push, and throw the clone away.

Kargo and Argo CD Image Updater work so, with a work tree of every file. It is measured with git alone, which is the
least that it can take.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from bench.gitops.fill import ENVIRONMENTS, name


def clone_edit_push(url: str, folder: Path, number: int) -> float:
    """Seconds that it takes to change the files of one release."""
    wall = time.perf_counter()
    _git(folder.parent, "clone", "--quiet", "--depth", "1", "--single-branch", "--branch", "main", url, str(folder))
    for path in (folder / "models" / name(number) / ENVIRONMENTS[-1]).rglob("*.yaml"):
        path.write_text(path.read_text() + "# changed\n")
    _git(folder, "add", "models")
    _git(folder, "-c", "user.name=Peer", "-c", "user.email=peer@example.org", "commit", "--quiet", "-m", "Change")
    _git(folder, "push", "--quiet", "origin", "HEAD:main")
    seconds = time.perf_counter() - wall
    shutil.rmtree(folder)
    return seconds


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)
