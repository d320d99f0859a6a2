"""One run of the demo: a fresh folder, the stack, the story, and what is left for `--keep`."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from registry.errors import InvalidInput
from registry.progress import Progress
from sluice.demo import examples, story
from sluice.demo.stack import Stack
from sluice.settings import FILE, load
from sluice.wiring import Wiring

_MARKER = ".sluice-demo"
_FORGET = """\
# Forget what else this shell says of AWS and of Sluice: the demo must not reach anything real.
for name in $(env | sed -En 's/^((AWS|SLUICE|MOTO)_[A-Za-z0-9_]*)=.*/\\1/p'); do unset "$name"; done
"""
_PARTS = ("bases", "cache", "gitops.git", "images", "logs", "store", "env.sh", FILE, "jobs.json", "moto.json")


def run(folder: Path, *, keep: bool, progress: Progress) -> tuple[Stack, story.Ending]:
    """Tell the story on a stack in `folder`, which is left up where `keep` says so and the story ended well.

    Raises:
        InvalidInput: the folder holds something else than a demo.
        Conflict: a demo is running in it.
        SluiceError: the story did not come out as it must.
    """
    found = examples.load()
    _check(folder)
    jobs = [example.request for example in found]
    with Stack.start(folder, jobs, detached=keep, progress=progress, first=lambda: _clear(folder)) as stack:
        variables = {"SLUICE_CONFIG": str(story.write_settings(folder)), **stack.endpoints.environment()}
        story.leave_outputs(stack.endpoints, found, progress)
        with story.as_environment(variables):
            parts = Wiring(load())
            try:
                ending = story.tell(parts, found, progress)
            finally:
                parts.close()
        if keep:
            _leave(folder, variables)
    return stack, ending


def _check(folder: Path) -> None:
    """Make the folder, unless it holds something else than a demo."""
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder: give another --folder.")
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise InvalidInput(f"{folder} is not empty and not a demo's: give another --folder.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / _MARKER).touch()
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written ({error.strerror}): give another --folder.") from error


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left, and nothing else."""
    for name in _PARTS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _leave(folder: Path, variables: Mapping[str, str]) -> None:
    """Write how to reach a stack that stays, for its owner's eyes alone."""
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    descriptor = os.open(folder / "env.sh", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(_FORGET + text)
