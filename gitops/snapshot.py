"""Reading commits: the files of one commit as a `gitops.tree.Tree`, and the commits that led to it.

One `git cat-file --batch` process serves every read, so that a file costs a line through a pipe and not a process.
Commit objects are read raw, which no person's configuration of `git log` can alter.
"""

from __future__ import annotations

import posixpath
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from gitops.layout import MODELS
from registry.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from gitops.git import Runner

_PERSON = re.compile(r"(?P<name>.*?) ?<(?P<email>[^>]*)> (?P<seconds>-?\d+) [+-]\d{4}")
_DIFF_LINES = 40
_SUBMODULE = "160000"


class Commit(BaseModel):
    """A commit as git keeps it (git-cat-file, "commit" objects); ids are 40 hexadecimal digits, times are UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tree: str
    parents: tuple[str, ...]
    author: str
    email: str
    time: datetime
    """When the author wrote it, which a rebase keeps."""
    committed: datetime
    """When it became this commit."""
    message: str

    @classmethod
    def parse(cls, commit_id: str, raw: bytes) -> Commit:
        """Read a raw commit object. Bytes that are no text in its encoding become replacement characters."""
        head, _, message = raw.partition(b"\n\n")
        headers = [line.partition(b" ") for line in head.split(b"\n") if not line.startswith(b" ")]
        first = {key.decode("ascii", "replace"): value for key, _, value in reversed(headers)}
        encoding = first.get("encoding", b"utf-8").decode("ascii", "replace")
        person, committer = (
            _PERSON.fullmatch(_text(first.get(role, b""), encoding)) for role in ("author", "committer")
        )
        return cls(
            id=commit_id,
            tree=_text(first["tree"], "ascii"),
            parents=tuple(_text(value, "ascii") for key, _, value in headers if key == b"parent"),
            author=person["name"] if person else "",
            email=person["email"] if person else "",
            time=_time(person["seconds"] if person else "0"),
            committed=_time(committer["seconds"] if committer else "0"),
            message=_text(message, encoding),
        )


def _text(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding, "replace")
    except LookupError:
        return raw.decode("utf-8", "replace")


def _time(seconds: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


class Objects:
    """The objects of a bare repository, by name, through one long-lived process. Safe to share between threads."""

    def __init__(self, runner: Runner, load: Callable[[Sequence[str]], None]) -> None:
        """`load` brings the files of some ids here that git knows of and does not have."""
        self.runner = runner
        self.load = load
        self._lock = threading.Lock()
        self._process: Any = None

    def get(self, name: str) -> tuple[str, str, bytes] | None:
        """The id, type and bytes of the object that `name` means to git, or None where there is none.

        Raises:
            Unavailable: the git process is gone, for instance because the cache was deleted.
        """
        if "\n" in name or "\0" in name:
            return None
        with self._lock:
            try:
                return self._ask(name)
            except OSError:
                self._stop()
                raise Unavailable("The git cache went away while it was read: run the command again.") from None

    def _ask(self, name: str) -> tuple[str, str, bytes] | None:
        if self._process is None:
            self._process = self.runner.start("cat-file", "--batch")
        asked, answer = self._process.stdin, self._process.stdout
        asked.write(name.encode("utf-8", "surrogateescape") + b"\n")
        asked.flush()
        header = answer.readline()
        if not header.endswith(b"\n"):
            raise OSError("git cat-file ended")
        parts = header.split()
        if len(parts) != 3 or not parts[2].isdigit():
            return None  # "<name> missing" and "<name> ambiguous"
        size = int(parts[2])
        content = answer.read(size + 1)
        if len(content) != size + 1:
            raise OSError("git cat-file ended")
        return parts[0].decode(), parts[1].decode(), content[:-1]

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout, process.stderr):
                try:
                    pipe.close()
                except OSError:  # a broken pipe breaks again on its last flush
                    continue
            process.proc.wait()

    def close(self) -> None:
        """End the process; the next read starts another."""
        with self._lock:
            self._stop()


class Snapshot:
    """One commit of the branch, or the empty start of a repository that has none. A `gitops.tree.Tree`."""

    def __init__(self, objects: Objects, commit: Commit | None) -> None:
        self.commit = commit
        self._objects = objects

    @property
    def id(self) -> str | None:
        """The commit's id; None where the repository has no commit yet."""
        return self.commit.id if self.commit else None

    def read(self, path: str) -> bytes | None:
        """The file's bytes, or None where there is no such file. A symbolic link reads as its target's name.

        Raises:
            Unavailable: the file is not in the cache yet, and the remote is not reached.
        """
        found = self._object(path)
        if found is None and self._absent(path):
            self._load(_around(path))
            found = self._object(path)
        return found[2] if found and found[1] == "blob" else None

    def kind(self, path: str) -> str | None:
        """What is at `path`: "blob" for a file, "tree" for a folder, None for nothing that git keeps here."""
        found = self._object(path)
        return found[1] if found else "blob" if self._absent(path) else None

    def tree_id(self, path: str = "") -> str | None:
        """The id of the folder's tree, or None where there is no such folder. Equal ids mean equal content."""
        found = self._object(path)
        return found[0] if found and found[1] == "tree" else None

    def paths(self, prefix: str = "") -> Sequence[str]:
        """Every file path at or below the folder `prefix`, sorted."""
        return sorted(path for path, (mode, _) in self.entries(prefix).items() if mode != _SUBMODULE)

    def prefetch(self, paths: Sequence[str]) -> None:
        """Bring those of the files that are not in the cache yet, in one request.

        Raises:
            Unavailable: the remote is not reached.
        """
        if paths:
            self._load(posixpath.commonpath(paths), set(paths))

    def entries(self, prefix: str = "") -> Mapping[str, tuple[str, str]]:
        """Path to mode and object id, as git keeps them, of all at or below `prefix` but folders.

        Two commits hold the same at a path where these are equal, and no file has to be read to know. Modes are six
        octal digits: 100644, 100755 (executable), 120000 (symbolic link) or 160000 (submodule).
        """
        if self.commit is None:
            return {}
        only = [prefix.strip("/")] if prefix.strip("/") else []
        listing = self._objects.runner.plainly("ls-tree", "-r", "-z", self.commit.tree, "--", *only)
        found = {}
        for line in listing.split(b"\0")[:-1]:
            meta, _, path = line.partition(b"\t")
            mode, _, object_id = meta.decode("ascii").split()
            found[path.decode("utf-8", "surrogateescape")] = (mode, object_id)
        return found

    def at(self, commit_id: str) -> Snapshot:
        """The same repository at another commit that this one descends from.

        Raises:
            NotFound: there is no such commit here.
        """
        found = self._objects.get(f"{commit_id}^{{commit}}")
        if found is None:
            raise NotFound(f"There is no commit {commit_id[:40]!r} in the history: check the id.")
        return Snapshot(self._objects, Commit.parse(found[0], found[2]))

    def before(self) -> Snapshot:
        """The first parent, or the empty start where this is the first commit."""
        if self.commit is None or not self.commit.parents:
            return Snapshot(self._objects, None)
        return self.at(self.commit.parents[0])

    def commits(self, pathspecs: Sequence[str], limit: int | None = None) -> Iterator[Commit]:
        """The commits that changed the files at `pathspecs`, newest first; a child always comes before its parents.

        What every merged branch did counts, also where it came to nothing: a person's merge of a release and its
        rollback has what its own side had, and git leaves the other side out by default (git-log, "History
        Simplification"). A merge itself is among them only where it decided something.
        """
        options = ["--full-history", "--simplify-merges", "--topo-order"]
        if limit is not None:
            options.append(f"--max-count={limit}")
        yield from self._listed(options, pathspecs)

    def landings(self, pathspecs: Sequence[str]) -> Iterator[Commit]:
        """The commits that brought changes of the files at `pathspecs` to the branch itself, newest first.

        What was committed on another branch came with its merge, and not before (git-log, "--first-parent").
        """
        return self._listed(["--first-parent"], pathspecs)

    def _listed(self, options: Sequence[str], pathspecs: Sequence[str]) -> Iterator[Commit]:
        if self.commit is None:
            return
        listing = self._objects.runner.plainly("rev-list", *options, self.commit.id, "--", *pathspecs)
        for commit_id in listing.decode().split():
            found = self._objects.get(commit_id)
            if found:
                yield Commit.parse(found[0], found[2])

    def diff(self, other: Snapshot, path: str, lines: int = _DIFF_LINES) -> str:
        """What leads from this commit's `path` to the other's, as a unified diff of at most `lines` lines."""
        for each in (self, other):
            each._load(path)  # noqa: SLF001  # of the same class
        here, there = (each.commit.tree if each.commit else _empty_tree(self._objects) for each in (self, other))
        options = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "-U1")
        text = self._objects.runner.plainly("diff-tree", "-r", "-p", *options, here, there, "--", f":(literal){path}")
        every = text.decode("utf-8", "replace").splitlines()
        more = [f"… {len(every) - lines} more lines"] if len(every) > lines else []
        return "\n".join([*every[:lines], *more])

    def _load(self, prefix: str, only: Collection[str] | None = None) -> None:
        entries = self.entries(prefix).items()
        wanted = {one: None for path, (mode, one) in entries if mode != _SUBMODULE and (only is None or path in only)}
        self._objects.load(list(wanted))

    def _absent(self, path: str) -> bool:
        """Whether there is such a file, though its bytes are not here."""
        folder, _, name = path.rpartition("/")
        above = self._object(folder) if name else None
        mode = _modes(above[2]).get(name.encode("utf-8", "surrogateescape")) if above and above[1] == "tree" else None
        return mode not in (None, _SUBMODULE.encode(), b"40000")

    def _object(self, path: str) -> tuple[str, str, bytes] | None:
        if self.commit is None:
            return None
        if path and not _plain(path):
            return None
        return self._objects.get(f"{self.commit.tree}:{path}")


def _modes(raw: bytes) -> dict[bytes, bytes]:
    """Name to mode of what a raw tree object holds: `<mode> <name>\\0<20 bytes of id>`, again and again."""
    found, at = {}, 0
    while at < len(raw):
        end = raw.index(b"\0", at)
        mode, _, name = raw[at:end].partition(b" ")
        found[name] = mode
        at = end + 21
    return found


def _around(path: str) -> str:
    """What is probably read with a file: all of its model, or the folder that it is in where that is a shallow one."""
    parts = path.split("/")
    return "/".join(parts[:2]) if len(parts) > 2 else path if parts[0] == MODELS else parts[0]


def _plain(path: str) -> bool:
    """Whether git takes `path` as it stands; `./` and `../` would be read as relative to a work tree."""
    return not any(part in ("", ".", "..") for part in path.split("/"))


def _empty_tree(objects: Objects) -> str:
    return objects.runner.run("hash-object", "-t", "tree", "-w", "--stdin", stdin=b"").decode().strip()
