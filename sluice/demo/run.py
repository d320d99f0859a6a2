"""One run of the demo: a fresh folder, the stack, the story, and what is left for `--keep`."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from gitops.message import Identity
from registry.errors import InvalidInput
from registry.progress import Progress
from sluice.demo import examples, story
from sluice.demo.stack import Endpoints, Stack, ensure_idle
from sluice.settings import FILE, Settings
from sluice.wiring import Wiring

_MARKER = ".sluice-demo"
_PARTS = ("bases", "cache", "gitops.git", "images", "logs", "store", "env.sh", FILE, "stack.json")


def run(folder: Path, *, keep: bool, progress: Progress) -> tuple[Stack, story.Ending]:
    """Tell the story on a stack in `folder`, which is left up where `keep` says so and the story ended well.

    Raises:
        InvalidInput: the folder holds something else than a demo.
        Conflict: a demo is running in it.
        SluiceError: the story did not come out as it must.
    """
    found = examples.load()
    _begin(folder)
    with Stack.start(folder, [example.request for example in found], detached=keep, progress=progress) as stack:
        with story.as_environment(stack.endpoints):
            settings = story.prepare(folder, stack.endpoints, found, progress)
            parts = Wiring(settings)
            try:
                author = Identity(name="Demo", email="demo@sluice.example")
                ending = story.tell(parts, found, author, progress)
            finally:
                parts.close()
        _leave(folder, settings, stack.endpoints if keep else None)
    return stack, ending


def _begin(folder: Path) -> None:
    """Make the folder, or empty it of an earlier demo, and of nothing else."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise InvalidInput(f"{folder} is not empty and not a demo's: give another --folder.")
    ensure_idle(folder)
    _clear(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / _MARKER).touch()


def _clear(folder: Path) -> None:
    for name in _PARTS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _leave(folder: Path, settings: Settings, endpoints: Endpoints | None) -> None:
    """Write the settings, and for a stack that stays the way to reach it, for its owner's eyes."""
    lines = [f'{name} = "{value}"' for name, value in story.settings_for(folder).items() if isinstance(value, str)]
    lines += ["", "[bases]", *(f'{runtime.value} = "{base}"' for runtime, base in settings.bases.items())]
    (folder / FILE).write_text("\n".join(lines) + "\n")
    if endpoints is None:
        return
    variables = {"SLUICE_CONFIG": str(folder / FILE), **endpoints.environment()}
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    descriptor = os.open(folder / "env.sh", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("unset AWS_PROFILE AWS_SESSION_TOKEN\n" + text)
