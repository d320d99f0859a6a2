"""A change as a unified diff, for people who want to see before they commit."""

from __future__ import annotations

import difflib

from gitops.tree import Change, Tree


def unified(tree: Tree, change: Change) -> str:
    """What `change` would do to `tree`, as `git diff` shows it; a file that is no text is named only."""
    return "".join(_file(path, tree.read(path), data) for path, data in sorted(change.writes.items()))


def _file(path: str, before: bytes | None, after: bytes | None) -> str:
    try:
        old, new = ((data or b"").decode().splitlines(keepends=True) for data in (before, after))
    except UnicodeDecodeError:
        return f"Binary file {path} differs\n"
    names = ("/dev/null" if before is None else f"a/{path}", "/dev/null" if after is None else f"b/{path}")
    lines = difflib.unified_diff(old, new, *names)
    return "".join(text if text.endswith("\n") else text + "\n" for text in lines)
