"""One commit as a stream for `git fast-import`, which reads and writes only the trees on the way to its files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gitops.message import Identity, message
from gitops.rollback import Restore
from gitops.tree import Change
from registry.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from gitops.snapshot import Snapshot

# what it makes goes into loose objects at once, so that compressing it before, too, is a waste
FAST_IMPORT = ("-c", "pack.compression=0", "fast-import", "--quiet", "--done", "--date-format=raw")
_NEW = "refs/worktree/sluice"  # refs/worktree/ is private to a git directory (gitrepository-layout)


def touched(change: Change) -> Sequence[str]:
    """The paths below which the change writes."""
    return [change.folder] if isinstance(change, Restore) else sorted(change.writes)


def differs(head: Snapshot, change: Change) -> bool:
    """Whether the change would make another tree than the head's."""
    if isinstance(change, Restore):
        return head.tree_id(change.folder) != change.tree
    return any(head.read(path) != content for path, content in change.writes.items())


def check_paths(head: Snapshot, change: Change) -> None:
    """Look at the paths of a change before git does.

    Raises:
        InvalidInput: a path that git or a checkout could take for something else.
        Refused: a file where a folder is needed, or the other way round.
    """
    kinds: dict[str, str | None] = {}  # a folder of many is read once, and not for each file below it
    for path in touched(change):
        parts = path.split("/")
        odd = any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
        if odd or not path.isprintable() or "\\" in path:
            raise InvalidInput(f"{path[:200]!r} cannot be a file of the repository: use plain names and slashes.")
        above = ["/".join(parts[:end]) for end in range(1, len(parts))]
        for place in (*above, path):
            if place not in kinds:
                kinds[place] = head.kind(place)
        in_the_way = [place for place in above if kinds[place] == "blob"]
        if not isinstance(change, Restore) and kinds[path] == "tree":
            in_the_way.append(path)
        if in_the_way:
            raise Refused(f"{in_the_way[0]} is in the way of {path}: move it, then try again.")


def script(head: Snapshot, change: Change, author: Identity, release_id: str) -> bytes:
    """The commit as input to git-fast-import ("INPUT FORMAT" there); it answers with the commit's id.

    Raises:
        InvalidInput: what the commit should say cannot be a commit message.
    """
    text = message(change, release_id).encode()
    who = f"{author.name} <{author.email}> {int(datetime.now(UTC).timestamp())} +0000"
    lines = [
        b"feature done",
        f"commit {_NEW}".encode(),
        b"mark :1",
        f"author {who}".encode(),
        f"committer {who}".encode(),
        b"data %d\n%s" % (len(text), text),
    ]
    if head.id:
        lines.append(f"from {head.id}".encode())
    if isinstance(change, Restore):
        lines.append(f'M 040000 {change.tree} "{change.folder}"'.encode())
    else:
        lines += [_write(path, content) for path, content in sorted(change.writes.items())]
    return b"\n".join([*lines, b"get-mark :1", b"done", b""])


def _write(path: str, content: bytes | None) -> bytes:
    quoted = path.replace('"', '\\"').encode()
    if content is None:
        return b'D "%s"' % quoted
    return b'M 100644 inline "%s"\ndata %d\n%s' % (quoted, len(content), content)
