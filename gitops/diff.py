"""What a change would do, in words and as a unified diff, for people who want to see before they commit."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from gitops.layout import release_file
from gitops.release import Canary, Deployed, Release
from gitops.state import parse_release, read_release
from gitops.tree import Change, Tree


class Preview(BaseModel):
    """A change before it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: str
    """`fraud in prod: canary v7 from 10 % to 25 %; stable stays v6; changes 2 files`."""
    subject: str
    """Of the commit that it would be."""
    files: Sequence[str]
    diff: str
    """As `git diff` shows it."""

    @property
    def text(self) -> str:
        """All of it for a terminal."""
        return f"{self.words}\n{self.subject}\n\n{self.diff}"


def preview(tree: Tree, change: Change, model: str, environment: str) -> Preview:
    """What `change` would do to `tree`, in which it changes one model in one environment.

    Raises:
        InvalidInput: the release file that is there cannot be right.
    """
    before = read_release(tree, model, environment)
    path = release_file(model, environment)
    data = change.writes.get(path, tree.read(path))
    after = parse_release(data, path) if data is not None else None
    files = sorted(change.writes)
    what = in_words(before, after) or f"{model} in {environment}: no version and no weight changes"
    return Preview(
        words=f"{what}; changes {len(files)} {'file' if len(files) == 1 else 'files'}",
        subject=change.subject,
        files=files,
        diff=unified(tree, change),
    )


def in_words(before: Release | None, after: Release | None) -> str:
    """What leads from one release to another of the same model and environment; empty where nothing does."""
    release = after or before
    if release is None or before == after:
        return ""
    if before is None or after is None:
        said = [f"stable v{release.stable.version} {'is gone' if before else 'is the first version there'}"]
        said += [f"canary v{release.canary.version} at {release.canary.weight} %"] if release.canary else []
    elif before.canary and not after.canary and before.canary.version == after.stable.version:
        said = [f"canary v{after.stable.version} becomes stable in place of v{before.stable.version}"]
    else:
        said = [*_canary(before.canary, after.canary), _stable(before.stable, after.stable)]
    return f"{release.model} in {release.environment}: {'; '.join(said)}"


def unified(tree: Tree, change: Change) -> str:
    """What `change` would do to `tree`, as `git diff` shows it; a file that is no text is named only."""
    return "".join(_file(path, tree.read(path), data) for path, data in sorted(change.writes.items()))


def _canary(before: Canary | None, after: Canary | None) -> list[str]:
    if before is None and after is None:
        return []
    if before is None or after is None or before.version != after.version:
        gone = [f"canary v{before.version} at {before.weight} % is gone"] if before else []
        return [*gone, *([f"canary v{after.version} starts at {after.weight} %"] if after else [])]
    image = " with another image" if before.model_image != after.model_image else ""
    if before.weight != after.weight:
        return [f"canary v{after.version} from {before.weight} % to {after.weight} %{image}"]
    return [f"canary v{after.version} stays at {after.weight} %{image}"]


def _stable(before: Deployed, after: Deployed) -> str:
    if before.version != after.version:
        return f"stable goes from v{before.version} to v{after.version}"
    image = " with another image" if before != after else ""
    return f"stable stays v{after.version}{image}"


def _file(path: str, before: bytes | None, after: bytes | None) -> str:
    try:
        old, new = ((data or b"").decode().splitlines(keepends=True) for data in (before, after))
    except UnicodeDecodeError:
        return f"Binary file {path} differs\n"
    names = ("/dev/null" if before is None else f"a/{path}", "/dev/null" if after is None else f"b/{path}")
    lines = difflib.unified_diff(old, new, *names)
    return "".join(text if text.endswith("\n") else text + "\n" for text in lines)
